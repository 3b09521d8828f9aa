/* DICOM files made in memory, element by element, and the shared data set unpacked. */
#ifndef TESTS_RECORD_DICOM_FIXTURE_H
#define TESTS_RECORD_DICOM_FIXTURE_H
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "record/dicom.h"

struct wire { /* how elements are written */
  struct buf b;
  bool implicit, big;
};

static inline void wire16(struct wire *w, uint32_t v) {
  if (w->big) {
    buf_putc(&w->b, (char)(v >> 8));
    buf_putc(&w->b, (char)v);
  } else {
    buf_putc(&w->b, (char)v);
    buf_putc(&w->b, (char)(v >> 8));
  }
}
static inline void wire32(struct wire *w, uint32_t v) {
  wire16(w, w->big ? v >> 16 : v & 0xFFFF);
  wire16(w, w->big ? v & 0xFFFF : v >> 16);
}
static inline void wire_head(struct wire *w, uint32_t tag, const char *vr, uint32_t n) {
  wire16(w, tag >> 16);
  wire16(w, tag & 0xFFFF);
  if (!w->implicit && tag >> 16 != 0xFFFE) {
    buf_put(&w->b, vr, 2);
    bool wide = strstr("OB OW OF SQ UT UN UC UR OD OL", vr) != NULL;
    wire16(w, wide ? 0 : n);
    if (!wide) return;
  }
  wire32(w, n);
}
static inline void wire_bytes(struct wire *w, uint32_t tag, const char *vr, const void *p, size_t n) {
  wire_head(w, tag, vr, (uint32_t)(n + (n & 1)));
  buf_put(&w->b, p, n);
  if (n & 1) buf_putc(&w->b, strcmp(vr, "UI") == 0 ? 0 : ' ');
}
static inline void wire_text(struct wire *w, uint32_t tag, const char *vr, const char *text) { wire_bytes(w, tag, vr, text, strlen(text)); }
static inline void wire_u16(struct wire *w, uint32_t tag, uint16_t v) {
  wire_head(w, tag, "US", 2);
  wire16(w, v);
}
static inline void wire_item(struct wire *w, uint32_t n) { wire_head(w, 0xFFFEE000, "", n); }
static inline void wire_item_end(struct wire *w) { wire_head(w, 0xFFFEE00D, "", 0); }
static inline void wire_end(struct wire *w) { wire_head(w, 0xFFFEE0DD, "", 0); }

/* Preamble full of `filler`, meta information; then w writes as the syntax says. */
static inline void wire_begin(struct wire *w, const char *syntax, const char *filler) {
  *w = (struct wire){0};
  for (int i = 0; i < 128; i++) buf_putc(&w->b, filler[(size_t)i % strlen(filler)]);
  buf_puts(&w->b, "DICM");
  wire_text(w, 0x00020002, "UI", "1.2.840.10008.5.1.4.1.1.7");
  wire_text(w, 0x00020003, "UI", "1.2.3.4");
  wire_text(w, 0x00020010, "UI", syntax);
  wire_text(w, 0x00020016, "AE", "STATION7");
  w->implicit = strcmp(syntax, "1.2.840.10008.1.2") == 0;
  w->big = strcmp(syntax, "1.2.840.10008.1.2.2") == 0;
}

static inline int dicom_of(struct arena *a, const struct buf *b, struct dicom_file *f, struct error *e) {
  return dicom_parse(a, (const uint8_t *)b->p, b->n, NULL, f, e);
}

/* The files of a data set under a temporary directory; false: the set is absent (and that may be). */
static inline bool data_unpack(const char *set, char dir[256]) {
  const char *data = getenv("DATA");
  char path[512], command[1400];
  snprintf(path, sizeof path, "%s/%s", data ? data : "../shared/data", set);
  if (!file_is_dir(path)) {
    if (getenv("CI")) fail_msg("the data set %s is not there", set);
    return false;
  }
  strcpy(dir, "/tmp/dicom-test-XXXXXX");
  assert_non_null(mkdtemp(dir));
  snprintf(command, sizeof command, "tar xJf '%s'/*dicom*.tar.xz -C '%s'", path, dir);
  assert_int_equal(system(command), 0);
  return true;
}
#endif
