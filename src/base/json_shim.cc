// The reading half of json.h over simdjson's DOM. A struct json is a tape reference: document and index; walking it
// costs what walking the library's own element costs. Nothing throws: only noexcept calls, error codes from parse.
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
using simdjson::internal::tape_ref;
using simdjson::internal::tape_type;

static_assert(sizeof(dom::element) == sizeof(struct json), "an element is a document pointer and an index");
static_assert(sizeof(tape_ref) == sizeof(struct json), "a tape reference is a document pointer and an index");
static_assert(simdjson::SIMDJSON_PADDING <= STREAM_PAD, "lines have enough readable bytes behind them");

inline tape_ref ref(struct json j) { return tape_ref(static_cast<const dom::document *>(j.doc), j.at); }
inline struct json none() { return {nullptr, 0}; }
inline bool is(struct json j, tape_type t) { return j.doc && ref(j).tape_ref_type() == t; }
inline struct str text(const tape_ref &t) { return {t.get_c_str(), t.get_string_length()}; }
inline size_t after(const void *doc, size_t at) { return ref({doc, at}).after_element(); }

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
  std::memcpy(static_cast<void *>(root), static_cast<const void *>(&element), sizeof *root);
  return OK;
}

enum json_kind json_kind(struct json j) {
  if (!j.doc) return JSON_NONE;
  switch (ref(j).tape_ref_type()) {
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

struct json json_get(struct json j, const char *key) {
  if (!is(j, tape_type::START_OBJECT)) return none();
  size_t n = std::strlen(key), end = ref(j).matching_brace_index() - 1;
  for (size_t at = j.at + 1; at < end; at = after(j.doc, at + 1)) {
    tape_ref t = ref({j.doc, at});
    if (t.get_string_length() == n && std::memcmp(t.get_c_str(), key, n) == 0) return {j.doc, at + 1};
  }
  return none();
}

struct json_iter json_items(struct json j) {
  if (!is(j, tape_type::START_ARRAY)) return {nullptr, 0, 0};
  return {j.doc, j.at + 1, ref(j).matching_brace_index() - size_t(1)};
}

bool json_next(struct json_iter *it, struct json *value) {
  if (it->at >= it->end) return false;
  *value = {it->doc, it->at};
  it->at = after(it->doc, it->at);
  return true;
}

struct json_iter json_members(struct json j) {
  if (!is(j, tape_type::START_OBJECT)) return {nullptr, 0, 0};
  return {j.doc, j.at + 1, ref(j).matching_brace_index() - size_t(1)};
}

bool json_next_member(struct json_iter *it, struct str *key, struct json *value) {
  if (it->at >= it->end) return false;
  if (key) *key = text(ref({it->doc, it->at}));
  *value = {it->doc, it->at + 1};
  it->at = after(it->doc, it->at + 1);
  return true;
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
  size_t n = ref(j).scope_count();
  if (n < simdjson::internal::JSON_COUNT_MASK) return n;
  struct json_iter it = array ? json_items(j) : json_members(j);  // the tape's count is saturated
  struct json value;
  for (n = 0; array ? json_next(&it, &value) : json_next_member(&it, nullptr, &value);) n++;
  return n;
}

struct str json_str(struct json j) {
  if (!is(j, tape_type::STRING)) return STR_NONE;
  return text(ref(j));
}

bool json_i64(struct json j, int64_t *out) {
  if (!is(j, tape_type::INT64)) return false;  // UINT64 on the tape means: over INT64_MAX
  *out = ref(j).next_tape_value<int64_t>();
  return true;
}

bool json_f64(struct json j, double *out) {
  if (!j.doc) return false;
  tape_ref t = ref(j);
  switch (t.tape_ref_type()) {
    case tape_type::DOUBLE: *out = t.next_tape_value<double>(); return true;
    case tape_type::INT64: *out = double(t.next_tape_value<int64_t>()); return true;
    case tape_type::UINT64: *out = double(t.next_tape_value<uint64_t>()); return true;
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
