/* Tree -> bytes, in the file's own transfer syntax. */
#include <zlib.h>

#include "record/dicom.h"

struct form {
  bool implicit, big;
};

static void put16(struct buf *b, uint16_t v, bool big) {
  char c[2] = {(char)(big ? v >> 8 : v), (char)(big ? v : v >> 8)};
  buf_put(b, c, 2);
}
static void put32(struct buf *b, uint32_t v, bool big) {
  put16(b, (uint16_t)(big ? v >> 16 : v), big);
  put16(b, (uint16_t)(big ? v : v >> 16), big);
}

static bool vr_long(uint16_t vr) {
  const char a = (char)(vr >> 8), c = (char)vr;
  return a == 'O' || vr == DICOM_SQ || vr == DICOM_UN || vr == DICOM_VR('S', 'V') ||
         (a == 'U' && (c == 'C' || c == 'R' || c == 'T' || c == 'V'));
}

static int head(struct buf *b, uint32_t tag, uint16_t vr, uint32_t length, struct form form, struct error *e) {
  put16(b, (uint16_t)(tag >> 16), form.big);
  put16(b, (uint16_t)tag, form.big);
  if (form.implicit || tag >> 16 == 0xFFFE) {
    put32(b, length, form.big);
    return OK;
  }
  buf_putc(b, (char)(vr >> 8));
  buf_putc(b, (char)vr);
  if (vr_long(vr)) {
    put16(b, 0, form.big);
    put32(b, length, form.big);
    return OK;
  }
  if (length > UINT16_MAX) return error_set(e, E_LIMIT, "a value is longer than its representation can say");
  put16(b, (uint16_t)length, form.big);
  return OK;
}

static int set_write(struct buf *b, const struct dicom_set *s, struct form form, struct error *e);

static int sequence_write(struct buf *b, const struct dicom_element *el, struct form form, struct error *e) {
  TRY(head(b, el->tag, DICOM_SQ, UINT32_MAX, form, e));
  for (const struct dicom_item *item = el->items; item; item = item->next) {
    TRY(head(b, DICOM_TAG(0xFFFE, 0xE000), 0, UINT32_MAX, form, e));
    TRY(set_write(b, &item->set, form, e));
    TRY(head(b, DICOM_TAG(0xFFFE, 0xE00D), 0, 0, form, e));
  }
  return head(b, DICOM_TAG(0xFFFE, 0xE0DD), 0, 0, form, e);
}

static int element_write(struct buf *b, const struct dicom_element *el, struct form form, struct error *e) {
  if (el->vr == DICOM_SQ) return sequence_write(b, el, form, e);
  if (el->encapsulated) {
    TRY(head(b, el->tag, el->vr, UINT32_MAX, form, e));
    buf_str(b, el->value);
    return head(b, DICOM_TAG(0xFFFE, 0xE0DD), 0, 0, form, e);
  }
  if (el->value.n >= UINT32_MAX - 1) return error_set(e, E_LIMIT, "a value longer than 4 GB");
  uint32_t n = (uint32_t)el->value.n, pad = n & 1;
  /* too long for its 16-bit length after a change of syntax: UN has 32 */
  uint16_t vr = n + pad > UINT16_MAX && !form.implicit && !vr_long(el->vr) ? DICOM_UN : el->vr;
  TRY(head(b, el->tag, vr, n + pad, form, e));
  buf_str(b, el->value);
  if (pad) buf_putc(b, dicom_is_text(el->vr) && el->vr != DICOM_VR('U', 'I') ? ' ' : 0);
  return OK;
}

static int set_write(struct buf *b, const struct dicom_set *s, struct form form, struct error *e) {
  for (const struct dicom_element *el = s->first; el; el = el->next) {
    if ((el->tag & 0xFFFF) == 0) continue; /* group lengths are retired, and would be wrong */
    TRY(element_write(b, el, form, e));
  }
  return OK;
}

static int deflate_all(const struct buf *in, struct buf *out, struct error *e) {
  z_stream z = {.next_in = (Bytef *)in->p, .avail_in = (uInt)in->n};
  if (in->n > UINT32_MAX) return error_set(e, E_LIMIT, "too long to deflate");
  if (deflateInit2(&z, 6, Z_DEFLATED, -15, 9, Z_DEFAULT_STRATEGY) != Z_OK) return error_set(e, E_NOMEM, "no memory to deflate");
  uLong most = deflateBound(&z, (uLong)in->n) + 1;
  int rc = OK;
  if (!buf_reserve(out, most)) TRY_OUT(error_set(e, E_NOMEM, "no memory to deflate"));
  z.next_out = (Bytef *)out->p + out->n;
  z.avail_out = (uInt)most;
  if (deflate(&z, Z_FINISH) != Z_STREAM_END) TRY_OUT(error_set(e, E_NOMEM, "the data cannot be deflated"));
  out->n += most - z.avail_out;
  if (out->n & 1) buf_putc(out, 0);
out:
  deflateEnd(&z);
  return rc;
}

static int meta_write(const struct dicom_file *f, struct buf *out, struct error *e) {
  struct buf meta = {0};
  struct form form = {0};
  int rc;
  TRY_OUT(set_write(&meta, &f->meta, form, e));
  TRY_OUT(buf_check(&meta, e));
  TRY_OUT(head(out, DICOM_TAG(2, 0), DICOM_VR('U', 'L'), 4, form, e));
  put32(out, (uint32_t)meta.n, false);
  buf_put(out, meta.p, meta.n);
out:
  buf_release(&meta);
  return rc;
}

int dicom_write(const struct dicom_file *f, struct buf *out, struct error *e) {
  static const char preamble[128];
  const struct form form = {f->implicit, f->big};
  buf_put(out, preamble, sizeof preamble);
  buf_put(out, "DICM", 4);
  TRY(meta_write(f, out, e));
  if (!f->deflated) {
    TRY(set_write(out, &f->data, form, e));
    return buf_check(out, e);
  }
  struct buf data = {0};
  int rc = set_write(&data, &f->data, form, e);
  if (rc == OK) rc = buf_check(&data, e);
  if (rc == OK) rc = deflate_all(&data, out, e);
  if (data.p) mem_wipe(data.p, data.cap);
  buf_release(&data);
  return rc < 0 ? rc : buf_check(out, e);
}
