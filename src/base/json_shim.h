/* What json.c takes from C++ (json_shim.cc): the shortest decimal texts. The rest of json.h's reading half is defined there directly. */
#ifndef BASE_JSON_SHIM_H
#define BASE_JSON_SHIM_H
#include <stddef.h>
#ifdef __cplusplus
extern "C" {
#endif
/* Shortest text that reads back to the same number, without a final NUL; returns its length (at most 32). `v` is finite. */
size_t json_shim_f64(double v, char out[32]);
size_t json_shim_f32(float v, char out[32]);
#ifdef __cplusplus
}
#endif
#endif
