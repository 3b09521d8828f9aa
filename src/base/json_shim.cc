// The reading half of json.h over simdjson's DOM, of which json.h itself walks the tape. Nothing throws: only noexcept calls, error codes from parse.
#include <simdjson.h>

#include <charconv>
#include <cmath>
#include <cstring>
#include <new>

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wshadow"  // C keeps struct arena_mark and the function arena_mark apart
extern "C" {
#include "base/file.h"
#include "base/json.h"
}
#pragma GCC diagnostic pop
#include "base/json_shim.h"

namespace {
namespace dom = simdjson::dom;
using simdjson::internal::tape_type;

static_assert(simdjson::SIMDJSON_PADDING <= STREAM_PAD, "lines have enough readable bytes behind them");

inline struct json none() { return {nullptr, 0}; }
inline tape_type type(struct json j) { return static_cast<tape_type>(j.doc->tape[j.at] >> 56); }
inline bool is(struct json j, tape_type t) { return j.doc && type(j) == t; }
template <typename T>
T value(struct json j) {  // of a number: the next word
  T v;
  std::memcpy(&v, &j.doc->tape[j.at + 1], sizeof v);
  return v;
}

// An integer over 64 bits is no number to strict readers (simdjson among them): the exponent says that it is a real.
template <typename T>
size_t shortest(T v, char *out) {
  if (v == 0 && std::signbit(v)) return std::memcpy(out, "-0.0", 4), 4;  // "-0" would be read as the integer 0
  bool large = v >= T(1e17) || v <= T(-1e17);
  return size_t((large ? std::to_chars(out, out + 32, v, std::chars_format::scientific) : std::to_chars(out, out + 32, v)).ptr - out);
}
}  // namespace

struct json_parser {
  dom::parser parser;
  struct json_doc doc; /* the last document */
};

extern "C" {

int json_parser_new(struct json_parser **out, struct error *e) {
  void *memory = mem_alloc(sizeof(struct json_parser));
  *out = memory ? new (memory) json_parser : nullptr;
  return memory ? OK : error_set(e, E_NOMEM, "no memory for a JSON parser");
}

void json_parser_free(struct json_parser *p) {
  if (!p) return;
  dom::document &d = p->parser.doc;  // the texts may be identified data
  if (d.string_buf) mem_wipe(d.string_buf.get(), d.capacity());
  p->~json_parser();
  mem_free(p);
}

int json_parse(struct json_parser *p, const char *bytes, size_t n, size_t cap, struct json *root, struct error *e) {
  *root = none();
  if (n > simdjson::SIMDJSON_MAXSIZE_BYTES) return error_set(e, E_LIMIT, "JSON document over 4 GB");
  bool copy = cap < n + simdjson::SIMDJSON_PADDING;
  dom::element element;
  simdjson::error_code code = p->parser.parse(reinterpret_cast<const uint8_t *>(n ? bytes : ""), n, copy).get(element);
  if (code == simdjson::MEMALLOC) return error_set(e, E_NOMEM, "no memory for a JSON document of %zu bytes", n);
  if (code == simdjson::CAPACITY || code == simdjson::DEPTH_ERROR)
    return error_set(e, E_LIMIT, "JSON too large or nested deeper than 1024");
  if (code != simdjson::SUCCESS) return error_set(e, E_INPUT, "no valid JSON: %s", simdjson::error_message(code));
  p->doc = {p->parser.doc.tape.get(), reinterpret_cast<const char *>(p->parser.doc.string_buf.get())};
  *root = {&p->doc, 1};  // the first word stands for the document
  return OK;
}

enum json_kind json_kind(struct json j) {
  if (!j.doc) return JSON_NONE;
  switch (type(j)) {
    case tape_type::START_ARRAY: return JSON_ARRAY;
    case tape_type::START_OBJECT: return JSON_OBJECT;
    case tape_type::STRING: return JSON_STRING;
    case tape_type::INT64:
    case tape_type::UINT64: return JSON_INT;
    case tape_type::DOUBLE: return JSON_REAL;
    case tape_type::TRUE_VALUE:
    case tape_type::FALSE_VALUE: return JSON_BOOL;
    case tape_type::NULL_VALUE: return JSON_NULL;
    default: return JSON_NONE;
  }
}

struct json json_at(struct json j, size_t index) {
  struct json_iter it = json_items(j);
  struct json value = none();
  do {
    if (!json_next(&it, &value)) return none();
  } while (index--);
  return value;
}

size_t json_count(struct json j) {
  bool array = is(j, tape_type::START_ARRAY);
  if (!array && !is(j, tape_type::START_OBJECT)) return 0;
  size_t n = j.doc->tape[j.at] >> 32 & simdjson::internal::JSON_COUNT_MASK;
  if (n < simdjson::internal::JSON_COUNT_MASK) return n;
  struct json_iter it = array ? json_items(j) : json_members(j);  // the tape's count is saturated
  struct json value;
  for (n = 0; array ? json_next(&it, &value) : json_next_member(&it, nullptr, &value);) n++;
  return n;
}

bool json_i64(struct json j, int64_t *out) {
  if (!is(j, tape_type::INT64)) return false;  // UINT64 on the tape means: over INT64_MAX
  *out = value<int64_t>(j);
  return true;
}

bool json_u64(struct json j, uint64_t *out) {
  if (!is(j, tape_type::UINT64)) return false;
  *out = value<uint64_t>(j);
  return true;
}

bool json_f64(struct json j, double *out) {
  if (!j.doc) return false;
  switch (type(j)) {
    case tape_type::DOUBLE: *out = value<double>(j); return true;
    case tape_type::INT64: *out = double(value<int64_t>(j)); return true;
    case tape_type::UINT64: *out = double(value<uint64_t>(j)); return true;
    default: return false;
  }
}

bool json_bool(struct json j, bool *out) {
  bool yes = is(j, tape_type::TRUE_VALUE);
  if (!yes && !is(j, tape_type::FALSE_VALUE)) return false;
  *out = yes;
  return true;
}

size_t json_shim_f64(double v, char out[32]) { return shortest(v, out); }
size_t json_shim_f32(float v, char out[32]) { return shortest(v, out); }
}
