/* Private to deid/: the C++ libraries' decoders behind two C functions. Called in the helper process only.
 * dicom_decode reads a DICOM file of an image's attributes and fragments: `out` receives the frames, little endian; false if it cannot.
 */
#ifndef DEID_DICOM_DECODE_H
#define DEID_DICOM_DECODE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
struct dicom_decoded {
  size_t n;
  unsigned short samples, allocated, stored, high, is_signed, planar;
  char photometric[20];
};
void dicom_decode_init(void);
bool dicom_decode(const uint8_t *file, size_t n, uint8_t *out, size_t room, struct dicom_decoded *d);
#ifdef __cplusplus
}
#endif
#endif
