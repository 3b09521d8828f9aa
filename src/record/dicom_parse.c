/* Bytes -> tree. One function an element, one a sequence; `end` is always the parent's end, and nothing reads beyond it. */
#include <stdlib.h>
#include <zlib.h>

#include "record/dicom.h"

enum { DEPTH = 32, ELEMENTS = 1 << 20, PREAMBLE = 128, ITEM = 0xE000, ITEM_END = 0xE00D, SEQUENCE_END = 0xE0DD };
#define UNDEFINED UINT32_MAX
#define INFLATED ((size_t)1 << 30)

struct reader {
  struct dicom_file *f;
  const uint8_t *p;
  size_t at;
  uint32_t depth, depth_most, elements_most;
};
struct form { /* how the elements here are written */
  bool implicit, big;
};
struct head {
  uint32_t tag, length;
  uint16_t vr;
};

static uint16_t u16(const uint8_t *p, bool big) { return big ? (uint16_t)(p[0] << 8 | p[1]) : (uint16_t)(p[1] << 8 | p[0]); }
static uint32_t u32(const uint8_t *p, bool big) {
  uint32_t a = u16(p, big), b = u16(p + 2, big);
  return big ? a << 16 | b : b << 16 | a;
}

static int cut_short(struct error *e) { return error_set(e, E_INPUT, "the data end inside an element"); }

#define V(a, b) DICOM_VR(a, b)
static bool vr_known(uint16_t vr) {
  static const char all[] = "AEASATCSDADSDTFDFLISLOLTOBODOFOLOVOWPNSHSLSQSSSTSVTMUCUIULUNURUSUTUV";
  for (const char *c = all; *c; c += 2)
    if (vr == V(c[0], c[1])) return true;
  return false;
}

/* explicit VRs with 2 reserved bytes and a length of 4 */
static bool vr_long(uint16_t vr) {
  switch (vr) {
    case V('O', 'B'):
    case V('O', 'D'):
    case V('O', 'F'):
    case V('O', 'L'):
    case V('O', 'V'):
    case V('O', 'W'):
    case V('S', 'Q'):
    case V('S', 'V'):
    case V('U', 'C'):
    case V('U', 'N'):
    case V('U', 'R'):
    case V('U', 'T'):
    case V('U', 'V'): return true;
    default: return false;
  }
}

bool dicom_is_text(uint16_t vr) {
  return dicom_is_string(vr) || vr == V('L', 'T') || vr == V('S', 'T') || vr == V('U', 'T') || vr == V('U', 'R');
}
bool dicom_is_string(uint16_t vr) {
  switch (vr) {
    case V('A', 'E'):
    case V('A', 'S'):
    case V('C', 'S'):
    case V('D', 'A'):
    case V('D', 'S'):
    case V('D', 'T'):
    case V('I', 'S'):
    case V('L', 'O'):
    case V('P', 'N'):
    case V('S', 'H'):
    case V('T', 'M'):
    case V('U', 'C'):
    case V('U', 'I'): return true;
    default: return false;
  }
}

/* ---- one element's head ---- */

static int head_read(struct reader *r, size_t end, struct form form, struct head *h, struct error *e) {
  const uint8_t *p = r->p + r->at;
  size_t left = end - r->at;
  if (left < 8) return cut_short(e);
  h->tag = (uint32_t)u16(p, form.big) << 16 | u16(p + 2, form.big);
  if (h->tag >> 16 == 0xFFFE || form.implicit) {
    h->vr = 0;
    h->length = u32(p + 4, form.big);
    r->at += 8;
    return OK;
  }
  h->vr = V(p[4], p[5]);
  if (!vr_known(h->vr)) return error_set(e, E_INPUT, "an element has no value representation that exists");
  if (!vr_long(h->vr)) {
    h->length = u16(p + 6, form.big);
    r->at += 8;
    return OK;
  }
  if (left < 12) return cut_short(e);
  h->length = u32(p + 8, form.big);
  r->at += 12;
  return OK;
}

/* Private creators and lengths have a representation in implicit VR too. */
static uint16_t vr_of(uint32_t tag) {
  uint16_t element = (uint16_t)tag;
  if (element == 0) return V('U', 'L');
  if (dicom_private(tag) && element >= 0x10 && element <= 0xFF) return V('L', 'O');
  uint16_t vr = dicom_dictionary_vr(tag);
  return vr ? vr : DICOM_UN;
}

static struct dicom_element *element_add(struct reader *r, struct dicom_set *s, uint32_t tag, uint16_t vr, struct error *e) {
  if (r->f->elements++ >= r->elements_most) {
    error_set(e, E_LIMIT, "too many elements");
    return NULL;
  }
  struct dicom_element *el = arena_new(r->f->arena, struct dicom_element);
  if (!el) {
    error_set(e, E_NOMEM, "no memory for the elements");
    return NULL;
  }
  el->tag = tag;
  el->vr = vr;
  if (s->last)
    s->last->next = el;
  else
    s->first = el;
  s->last = el;
  return el;
}

/* ---- sequences ---- */

static int set_read(struct reader *r, size_t end, struct form form, bool closed, struct dicom_set *s, struct error *e);

/* Some writers put items in implicit VR into explicit files: there the bytes of the representation are a length. */
static struct form form_of_item(const struct reader *r, size_t end, struct form form) {
  const uint8_t *p = r->p + r->at;
  if (!form.implicit && end - r->at >= 8 && u16(p, form.big) != 0xFFFE && !vr_known(V(p[4], p[5]))) form.implicit = true;
  return form;
}

static int item_read(struct reader *r, size_t end, struct form form, uint32_t length, struct dicom_item *item, struct error *e) {
  size_t stop = end;
  if (length != UNDEFINED) {
    if (length > end - r->at) return cut_short(e);
    stop = r->at + length;
  }
  return set_read(r, stop, form_of_item(r, stop, form), length == UNDEFINED, &item->set, e);
}

static int items_read(struct reader *r, size_t end, struct form form, bool closed, struct dicom_element *el, struct error *e) {
  struct dicom_item **link = &el->items;
  if (++r->depth > r->depth_most) return error_set(e, E_LIMIT, "sequences too deep");
  while (r->at < end) {
    struct head h;
    TRY(head_read(r, end, form, &h, e));
    if (h.tag == DICOM_TAG(0xFFFE, SEQUENCE_END) && closed) {
      r->depth--;
      return OK;
    }
    if (h.tag != DICOM_TAG(0xFFFE, ITEM)) return error_set(e, E_INPUT, "a sequence holds something that is no item");
    if (r->f->elements++ >= r->elements_most) return error_set(e, E_LIMIT, "too many items");
    *link = arena_new(r->f->arena, struct dicom_item);
    if (!*link) return error_set(e, E_NOMEM, "no memory for the items");
    TRY(item_read(r, end, form, h.length, *link, e));
    link = &(*link)->next;
  }
  r->depth--;
  return closed ? error_set(e, E_INPUT, "a sequence does not end") : OK;
}

static int sequence_read(struct reader *r, size_t end, struct form form, uint32_t length, struct dicom_element *el, struct error *e) {
  size_t stop = end;
  if (length != UNDEFINED) {
    if (length > end - r->at) return cut_short(e);
    stop = r->at + length;
  }
  el->vr = DICOM_SQ;
  TRY(items_read(r, stop, form, length == UNDEFINED, el, e));
  if (length != UNDEFINED && r->at != stop) return error_set(e, E_INPUT, "a sequence is longer than it says");
  return OK;
}

/* The fragments of encapsulated pixel data, kept as they are. */
static int fragments_read(struct reader *r, size_t end, struct form form, struct dicom_element *el, struct error *e) {
  size_t begin = r->at;
  for (;;) {
    struct head h;
    size_t here = r->at;
    TRY(head_read(r, end, form, &h, e));
    if (h.tag == DICOM_TAG(0xFFFE, SEQUENCE_END)) {
      el->value = (struct str){(const char *)r->p + begin, here - begin};
      el->encapsulated = true;
      return OK;
    }
    if (h.tag != DICOM_TAG(0xFFFE, ITEM) || h.length == UNDEFINED)
      return error_set(e, E_INPUT, "pixel data with something that is no fragment");
    if (h.length > end - r->at) return cut_short(e);
    if (r->f->elements++ >= r->elements_most) return error_set(e, E_LIMIT, "too many fragments");
    r->at += h.length;
  }
}

/* A sequence written as UN of defined length: tried, and left as bytes if it is none. */
static bool un_sequence(struct reader *r, size_t end, uint32_t length, struct dicom_element *el) {
  size_t at = r->at;
  uint32_t depth = r->depth;
  struct error quiet = {0};
  struct dicom_element trial = *el;
  if (length < 8 || length > end - at) return false;
  if (sequence_read(r, end, (struct form){.implicit = true}, length, &trial, &quiet) < 0) {
    r->at = at;
    r->depth = depth;
    return false;
  }
  el->vr = DICOM_SQ;
  el->items = trial.items;
  return true;
}

static int value_read(struct reader *r, size_t end, struct form form, const struct head *h, struct dicom_element *el, struct error *e) {
  bool pixels = h->tag >> 16 == 0x7FE0;
  if (h->length == UNDEFINED && pixels && !form.implicit && h->vr != DICOM_SQ) return fragments_read(r, end, form, el, e);
  if (el->vr == DICOM_SQ && h->vr != DICOM_UN) return sequence_read(r, end, form, h->length, el, e);
  if (h->length == UNDEFINED)
    return sequence_read(r, end, (struct form){.implicit = true, .big = form.implicit && form.big}, UNDEFINED, el, e);
  /* whatever is a sequence by the dictionary, or by its own first bytes, is one: nothing may hide in it */
  const uint8_t *p = r->p + r->at;
  bool item = h->length >= 8 && end - r->at >= 8 && memcmp(p, "\xFE\xFF\x00\xE0", 4) == 0;
  if ((el->vr == DICOM_SQ || (el->vr == DICOM_UN && item)) && un_sequence(r, end, h->length, el)) return OK;
  if (el->vr == DICOM_SQ && h->vr == DICOM_UN) el->vr = DICOM_UN;
  if (h->length > end - r->at) return cut_short(e);
  el->value = (struct str){(const char *)p, h->length};
  r->at += h->length;
  return OK;
}

/* Zeros behind the last element: padding of tapes and disks. */
static bool zeros_only(const uint8_t *p, size_t n) {
  for (size_t i = 0; i < n; i++)
    if (p[i]) return false;
  return true;
}

/* closed: the set ends with an item delimiter, else with `end`. */
static int set_read(struct reader *r, size_t end, struct form form, bool closed, struct dicom_set *s, struct error *e) {
  while (r->at < end) {
    struct head h;
    if (r->depth == 0 && zeros_only(r->p + r->at, end - r->at < 8 ? end - r->at : 8) && zeros_only(r->p + r->at, end - r->at)) {
      r->at = end;
      return OK;
    }
    TRY(head_read(r, end, form, &h, e));
    if (h.tag == DICOM_TAG(0xFFFE, ITEM_END) && closed) return OK;
    if (h.tag >> 16 == 0xFFFE) return error_set(e, E_INPUT, "a delimiter where an element should be");
    uint16_t vr = h.vr && h.vr != DICOM_UN ? h.vr : vr_of(h.tag);
    struct dicom_element *el = element_add(r, s, h.tag, vr, e);
    if (!el) return e ? e->code : E_LIMIT;
    TRY(value_read(r, end, form, &h, el, e));
  }
  return closed ? error_set(e, E_INPUT, "an item does not end") : OK;
}

/* ---- the file ---- */

bool dicom_looks(const uint8_t *p, size_t n) {
  if (n >= PREAMBLE + 4 && memcmp(p + PREAMBLE, "DICM", 4) == 0) return true;
  if (n < 8 || (p[0] != 2 && p[0] != 8) || p[1] != 0) return false;
  return vr_known(V(p[4], p[5])) || u32(p + 4, false) <= 64;
}

static int meta_read(struct reader *r, size_t n, struct error *e) {
  const struct form form = {0};
  while (n - r->at >= 8 && u16(r->p + r->at, false) == 2) {
    struct head h;
    TRY(head_read(r, n, form, &h, e));
    struct dicom_element *el = element_add(r, &r->f->meta, h.tag, h.vr, e);
    if (!el) return e ? e->code : E_LIMIT;
    TRY(value_read(r, n, form, &h, el, e));
  }
  return OK;
}

static int syntax_read(struct reader *r, size_t n, struct form *form, struct error *e) {
  struct dicom_file *f = r->f;
  struct str s = dicom_text(&f->meta, DICOM_TAG(2, 0x10));
  *form = (struct form){0};
  if (s.n == 0) {
    f->bare = true;
    const uint8_t *p = r->p + r->at;
    if (n - r->at < 8) return error_set(e, E_INPUT, "no data set");
    form->implicit = !vr_known(V(p[4], p[5]));
    s = form->implicit ? STR("1.2.840.10008.1.2") : STR("1.2.840.10008.1.2.1");
  }
  if (s.n >= sizeof f->syntax) return error_set(e, E_INPUT, "a transfer syntax longer than a UID can be");
  for (size_t i = 0; i < s.n; i++)
    if ((s.p[i] < '0' || s.p[i] > '9') && s.p[i] != '.') return error_set(e, E_INPUT, "a transfer syntax that is no UID");
  memcpy(f->syntax, s.p, s.n);
  f->syntax[s.n] = 0;
  form->implicit = str_eqc(s, "1.2.840.10008.1.2");
  form->big = str_eqc(s, "1.2.840.10008.1.2.2");
  f->deflated = str_eqc(s, "1.2.840.10008.1.2.1.99");
  f->implicit = form->implicit;
  f->big = form->big;
  f->encapsulated = !f->implicit && !f->big && !f->deflated && !str_eqc(s, "1.2.840.10008.1.2.1");
  return OK;
}

static int inflate_rest(struct reader *r, size_t *n, size_t most, struct error *e) {
  struct buf b = {0};
  z_stream z = {.next_in = (Bytef *)(uintptr_t)(r->p + r->at), .avail_in = (uInt)(*n - r->at)};
  int rc = OK, z_rc = Z_OK;
  if (*n - r->at > UINT32_MAX) return error_set(e, E_LIMIT, "deflated data too long");
  if (inflateInit2(&z, -15) != Z_OK) return error_set(e, E_NOMEM, "no memory to inflate");
  while (z_rc == Z_OK) {
    if (!buf_reserve(&b, 1 << 16)) TRY_OUT(error_set(e, E_NOMEM, "no memory to inflate"));
    z.next_out = (Bytef *)b.p + b.n;
    z.avail_out = 1 << 16;
    z_rc = inflate(&z, Z_NO_FLUSH);
    b.n += (1 << 16) - z.avail_out;
    if (b.n > most) TRY_OUT(error_set(e, E_LIMIT, "deflated data expand too far"));
    if (z_rc == Z_OK && z.avail_in == 0 && z.avail_out) break;
  }
  if (z_rc != Z_STREAM_END) TRY_OUT(error_set(e, E_INPUT, "the deflated data are damaged"));
  char *copy = arena_alloc(r->f->arena, b.n ? b.n : 1, 8);
  if (!copy) TRY_OUT(error_set(e, E_LIMIT, "no room for the inflated data"));
  if (b.n) memcpy(copy, b.p, b.n);
  r->p = (const uint8_t *)copy;
  r->at = 0;
  *n = b.n;
out:
  inflateEnd(&z);
  if (b.p) mem_wipe(b.p, b.cap);
  buf_release(&b);
  return rc;
}

int dicom_parse(struct arena *a, const uint8_t *p, size_t n, const struct dicom_limits *limits, struct dicom_file *out, struct error *e) {
  static const struct dicom_limits none;
  const struct dicom_limits *l = limits ? limits : &none;
  struct reader r = {.f = out, .p = p, .depth_most = l->depth ? l->depth : DEPTH, .elements_most = l->elements ? l->elements : ELEMENTS};
  struct error own = {0};
  struct form form;
  if (!e) e = &own;
  *out = (struct dicom_file){.arena = a};
  if (!dicom_looks(p, n)) return error_set(e, E_INPUT, "not a DICOM file");
  if (n >= PREAMBLE + 4 && memcmp(p + PREAMBLE, "DICM", 4) == 0) r.at = PREAMBLE + 4;
  TRY(meta_read(&r, n, e));
  TRY(syntax_read(&r, n, &form, e));
  if (out->deflated) TRY(inflate_rest(&r, &n, l->inflated ? l->inflated : INFLATED, e));
  return set_read(&r, n, form, false, &out->data, e);
}
