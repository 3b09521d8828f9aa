#include "deid/dicom_clean.h"

#include <stdio.h>

#include "deid/dicom_text.h"
#include "deid/text.h"
#include "record/dicom.h"
#include "record/record.h"

#define VR(a, b) DICOM_VR(a, b)
enum {
  CODE_VALUE = DICOM_TAG(8, 0x100),
  CODE_SCHEME = DICOM_TAG(8, 0x102),
  CODE_MEANING = DICOM_TAG(8, 0x104),
  UID_MOST = 64,
  UID_DIGITS = 8
};

struct clean {
  const struct dicom_profile *p;
  struct dicom_file *f;
  const struct dicom_person *who;
  struct dicom_counts *counts;
  struct dicom_known known;
  struct str charset; /* of the item being cleaned */
  bool strict;        /* inside a sequence that is to hold dummies only */
  bool coded;         /* in an item whose coding scheme is published */
};

static struct str dummy_of(uint16_t vr) {
  switch (vr) {
    case VR('D', 'A'): return STR("19000101");
    case VR('D', 'T'): return STR("19000101000000");
    case VR('T', 'M'): return STR("000000");
    case VR('A', 'S'): return STR("000Y");
    case VR('D', 'S'):
    case VR('I', 'S'): return STR("0");
    case VR('O', 'B'):
    case VR('U', 'N'): return (struct str){"\0\0", 2};
    default: return STR("REMOVED");
  }
}

/* ---- counting ---- */

static int kind_of(const struct dicom_element *el) {
  switch (el->tag) {
    case DICOM_PATIENT_ID: return IDENTIFIER_MRN;
    case DICOM_TAG(8, 0x50): return IDENTIFIER_ACCOUNT;
    case DICOM_TAG(8, 0x80):
    case DICOM_TAG(8, 0x81):
    case DICOM_TAG(0x10, 0x1040): return IDENTIFIER_GEOGRAPHY;
    case DICOM_TAG(8, 0x94):
    case DICOM_TAG(0x10, 0x2154): return IDENTIFIER_PHONE;
    case DICOM_TAG(0x18, 0x1000): return IDENTIFIER_DEVICE;
    default: break;
  }
  switch (el->vr) {
    case VR('P', 'N'): return IDENTIFIER_NAME;
    case VR('D', 'A'):
    case VR('D', 'T'):
    case VR('T', 'M'): return IDENTIFIER_DATE;
    case VR('S', 'T'):
    case VR('L', 'T'):
    case VR('U', 'T'): return IDENTIFIER_FREE_TEXT;
    default: return IDENTIFIER_OTHER;
  }
}

static void count_removed(struct clean *c, const struct dicom_element *el) {
  if (el->value.n || el->items) c->counts->removed[kind_of(el)]++;
}

/* ---- what is known: from the vault, and from the elements of this file that go ---- */

static bool gives_identifier(const struct clean *c, const struct dicom_element *el) {
  if (el->vr == VR('P', 'N')) return true;
  if (!dicom_is_text(el->vr) || el->vr == VR('U', 'I') || el->vr == VR('C', 'S') || el->vr == VR('D', 'S') || el->vr == VR('T', 'M'))
    return false;
  enum dicom_action a = dicom_profile_action(c->p, el->tag);
  return a == DICOM_REMOVE || a == DICOM_EMPTY || a == DICOM_DUMMY;
}

static int known_take(struct clean *c, const struct dicom_element *el, struct str charset, struct error *e) {
  struct error quiet = {0};
  struct str text;
  if (dicom_text_decode(c->f->arena, charset, dicom_value(el), &text, &quiet) < 0) text = dicom_value(el);
  bool own = el->tag >> 16 == 0x0010 || el->tag == DICOM_TAG(8, 0x50);
  if (el->vr == VR('P', 'N')) return dicom_known_add(&c->known, IDENTIFIER_NAME, text, own, e);
  if (el->vr == VR('D', 'A') || el->vr == VR('D', 'T')) own = el->tag >> 16 == 0x0010;
  while (text.n) TRY(dicom_known_add(&c->known, IDENTIFIER_OTHER, dicom_part(&text), own, e));
  return OK;
}

static int known_set(struct clean *c, const struct dicom_set *s, struct str charset, struct error *e) {
  const struct dicom_element *own = dicom_find(s, DICOM_CHARSET);
  if (own) charset = dicom_value(own);
  for (const struct dicom_element *el = s->first; el; el = el->next) {
    for (const struct dicom_item *item = el->items; item; item = item->next) TRY(known_set(c, &item->set, charset, e));
    if (el->value.n && !dicom_private(el->tag) && gives_identifier(c, el)) TRY(known_take(c, el, charset, e));
  }
  return OK;
}

static int known_vault(struct clean *c, struct error *e) {
  for (uint32_t i = 0; i < c->who->known_n; i++) {
    const struct text_known *k = &c->who->known[i];
    if (k->kind != IDENTIFIER_DATE && k->kind != IDENTIFIER_FREE_TEXT) TRY(dicom_known_add(&c->known, k->kind, k->value, true, e));
  }
  return OK;
}

/* ---- values ---- */

static int empty(struct clean *c, struct dicom_element *el) {
  count_removed(c, el);
  el->value = (struct str){"", 0};
  el->items = NULL;
  el->encapsulated = false;
  return OK;
}

static int dummy(struct clean *c, struct dicom_element *el, struct error *e) {
  count_removed(c, el);
  if (el->vr == VR('U', 'I') || el->vr == VR('U', 'R') || (!dicom_is_text(el->vr) && el->vr != VR('O', 'B') && el->vr != DICOM_UN)) {
    char *zeros = arena_alloc(c->f->arena, el->value.n + 1, 2);
    if (!zeros) return error_set(e, E_NOMEM, "no memory for a value");
    el->value = (struct str){zeros, dicom_is_text(el->vr) ? 0 : el->value.n};
    return OK;
  }
  return dicom_set_value(c->f, el, dummy_of(el->vr), e);
}

static int set_parts(struct clean *c, struct dicom_element *el, struct buf *b, bool changed, struct error *e) {
  int rc = buf_check(b, e);
  if (rc == OK && changed) rc = dicom_set_value(c->f, el, (struct str){b->p ? b->p : "", b->n}, e);
  buf_release(b);
  return rc;
}

/* All values of a text, each cleaned by itself. A text that its character set does not explain goes. */
static int text_clean(struct clean *c, struct dicom_element *el, enum dicom_text_mode mode, struct error *e) {
  struct arena *a = c->f->arena;
  struct error quiet = {0};
  struct str text, out;
  struct buf b = {0};
  bool changed = false, several = dicom_is_string(el->vr);
  if (dicom_text_decode(a, c->charset, dicom_value(el), &text, &quiet) < 0) return empty(c, el);
  for (bool first = true; text.p && text.n; first = false) {
    struct str one = several ? str_cut(&text, '\\') : text;
    if (!several) text = STR_NONE;
    if (!first) buf_putc(&b, '\\');
    int rc = dicom_text_scrub(c->p, &c->known, c->who->text, mode, a, one, &out, e);
    if (rc < 0) {
      buf_release(&b);
      return rc;
    }
    changed |= out.p != one.p || out.n != one.n;
    buf_str(&b, out);
  }
  if (!changed) {
    buf_release(&b);
    return OK;
  }
  c->counts->texts_cleaned++;
  struct str coded;
  bool nothing = true;
  for (size_t i = 0; i < b.n; i++) nothing = nothing && (b.p[i] == '\\' || b.p[i] == ' ');
  if (nothing && mode != DICOM_TERM) { /* an element that was there stays there: it may have to */
    buf_release(&b);
    return dummy(c, el, e);
  }
  if (dicom_text_encode(a, c->charset, (struct str){b.p, b.n}, &coded, &quiet) < 0) coded = STR("");
  int rc = buf_check(&b, e);
  if (rc == OK) rc = dicom_set_value(c->f, el, coded, e);
  buf_release(&b);
  return rc;
}

static int temporal(struct clean *c, struct dicom_element *el, enum deid_dates how, struct error *e) {
  struct str rest = dicom_value(el);
  struct buf b = {0};
  bool masked = false;
  for (bool first = true; rest.n; first = false) {
    char out[DICOM_DATE_ROOM];
    size_t n = 0;
    if (!first) buf_putc(&b, '\\');
    if (dicom_date(el->vr, dicom_part(&rest), how, c->who->shift_days, out, &n))
      buf_put(&b, out, n);
    else
      masked = true;
  }
  if (masked) c->counts->dates_masked++;
  if (b.n && how != DEID_DATES_KEEP) c->counts->dates_changed++;
  return set_parts(c, el, &b, el->value.n > 0, e);
}

static bool uid_shaped(struct str s) {
  if (s.n == 0 || s.n > UID_MOST) return false;
  for (size_t i = 0; i < s.n; i++)
    if ((s.p[i] < '0' || s.p[i] > '9') && s.p[i] != '.') return false;
  return true;
}

/* One of the patient's numbers hides in it. */
static bool uid_tells(const struct clean *c, struct str uid) {
  for (uint32_t i = 0; i < c->known.n; i++) {
    struct str f = c->known.at[i].folded;
    if (!c->known.at[i].own || c->known.at[i].name || f.n < UID_DIGITS) continue;
    for (size_t at = 0; at + f.n <= uid.n; at++)
      if (memcmp(uid.p + at, f.p, f.n) == 0) return true;
  }
  return false;
}

static int uids(struct clean *c, struct dicom_element *el, bool classes, struct error *e) {
  struct str rest = dicom_value(el);
  struct buf b = {0};
  bool changed = false;
  for (bool first = true; rest.n; first = false) {
    struct str one = dicom_part(&rest);
    char mapped[48];
    if (!first) buf_putc(&b, '\\');
    if (one.n == 0) continue;
    bool stays = uid_shaped(one) && (classes || str_starts(one, STR("1.2.840.10008."))) && !uid_tells(c, one);
    if (stays) {
      buf_str(&b, one);
      continue;
    }
    dicom_uid_map(c->who->uid_key, one, mapped);
    buf_puts(&b, mapped);
    c->counts->uids++;
    changed = true;
  }
  return set_parts(c, el, &b, changed, e);
}

/* A device's own number stays a number, another one: images of one scanner still belong together. */
static int device_number(struct clean *c, struct dicom_element *el, struct error *e) {
  struct str rest = dicom_value(el);
  struct buf b = {0};
  for (bool first = true; rest.n; first = false) {
    char mapped[48];
    struct str one = dicom_part(&rest);
    if (!first) buf_putc(&b, '\\');
    if (!one.n) continue;
    dicom_uid_map(c->who->uid_key, one, mapped);
    buf_printf(&b, "D%.10s", mapped + sizeof "2.25." - 1);
    c->counts->device_numbers++;
  }
  return set_parts(c, el, &b, el->value.n > 0, e);
}

/* Numbers in text: nothing but numbers, and none that is the patient's own. */
static int numbers(struct clean *c, struct dicom_element *el, struct error *e) {
  struct str rest = dicom_value(el);
  struct buf b = {0};
  bool changed = false;
  for (bool first = true; rest.n; first = false) {
    struct str one = dicom_part(&rest);
    bool good = one.n <= 16 + 8;
    for (size_t i = 0; i < one.n; i++) good = good && one.p[i] && strchr("0123456789+-.eE", one.p[i]);
    for (uint32_t i = 0; i < c->known.n && good; i++) {
      const struct dicom_known_word *w = &c->known.at[i];
      if (w->own && !w->name && w->folded.n >= 6 && str_eq(w->folded, one)) good = false;
    }
    if (!first) buf_putc(&b, '\\');
    if (good)
      buf_str(&b, one);
    else
      changed = true;
  }
  return set_parts(c, el, &b, changed, e);
}

/* "093Y" -> "090Y"; what is no age goes. */
static int age(struct clean *c, struct dicom_element *el, struct error *e) {
  static const int per_year[] = {['D'] = 365, ['W'] = 52, ['M'] = 12, ['Y'] = 1};
  struct str s = dicom_value(el);
  int64_t v;
  if (s.n == 0) return OK;
  char unit = s.p[s.n - 1];
  if (s.n > 4 || !strchr("DWMY", unit) || str_to_i64((struct str){s.p, s.n - 1}, &v) < 0 || v < 0) return empty(c, el);
  if (!c->who->age_cap || v <= (int64_t)c->who->age_cap * per_year[(int)unit]) return OK;
  char capped[8];
  snprintf(capped, sizeof capped, "%03dY", c->who->age_cap + 1);
  return dicom_set_value(c->f, el, str_c(capped), e);
}

/* ---- one element ---- */

static int set_clean(struct clean *c, struct dicom_set *s, struct error *e);

static int items_clean(struct clean *c, struct dicom_element *el, bool strict, struct error *e) {
  bool was = c->strict, coded = c->coded;
  struct str charset = c->charset;
  c->strict |= strict;
  for (struct dicom_item *item = el->items; item; item = item->next) {
    TRY(set_clean(c, &item->set, e));
    c->charset = charset;
  }
  c->strict = was;
  c->coded = coded;
  return OK;
}

static bool is_temporal(uint16_t vr) { return vr == VR('D', 'A') || vr == VR('D', 'T') || vr == VR('T', 'M'); }

/* What dates become is the policy's; the table says which of them go altogether. */
static int temporal_clean(struct clean *c, struct dicom_element *el, enum dicom_action action, bool *remove, struct error *e) {
  bool dated = dicom_profile_option(c->p, DICOM_FULL_DATES) || dicom_profile_option(c->p, DICOM_MODIFIED_DATES);
  bool stays = action == DICOM_KEEP || action == DICOM_CLEAN || action == DICOM_UNLISTED;
  if (dated && stays) return temporal(c, el, dicom_profile_option(c->p, DICOM_FULL_DATES) ? DEID_DATES_KEEP : c->who->dates, e);
  if (action == DICOM_REMOVE) *remove = true;
  if (action != DICOM_DUMMY) return empty(c, el);
  if (c->who->dates != DEID_DATES_YEAR || el->value.n == 0) return dummy(c, el, e);
  return temporal(c, el, DEID_DATES_YEAR, e);
}

static enum dicom_text_mode mode_of(const struct clean *c, const struct dicom_element *el, bool descriptor) {
  if (el->tag == CODE_VALUE || el->tag == CODE_SCHEME || el->tag == DICOM_TAG(8, 0x103)) return DICOM_CODE;
  if (el->tag == CODE_MEANING) return c->coded ? DICOM_CODE : DICOM_LIGHT;
  if (el->vr == VR('S', 'T') || el->vr == VR('L', 'T') || el->vr == VR('U', 'T') || el->vr == VR('U', 'C')) return DICOM_FREE;
  return descriptor ? DICOM_DESCRIPTOR : DICOM_LIGHT;
}

/* By representation: what the table does not list, or lets stay. */
static int value_clean(struct clean *c, struct dicom_element *el, enum dicom_action action, bool *remove, struct error *e) {
  bool listed = action != DICOM_UNLISTED;
  switch (el->vr) {
    case VR('P', 'N'): return listed ? text_clean(c, el, DICOM_CODE, e) : empty(c, el);
    case VR('A', 'E'):
    case VR('U', 'R'): return action == DICOM_KEEP ? text_clean(c, el, DICOM_CODE, e) : empty(c, el);
    case VR('U', 'I'): return uids(c, el, dicom_profile_class(c->p, el->tag) || action == DICOM_KEEP, e);
    case VR('A', 'S'): return age(c, el, e);
    case VR('D', 'S'):
    case VR('I', 'S'): return numbers(c, el, e);
    case VR('C', 'S'): return text_clean(c, el, DICOM_TERM, e);
    case VR('L', 'O'):
    case VR('S', 'H'):
    case VR('S', 'T'):
    case VR('L', 'T'):
    case VR('U', 'T'):
    case VR('U', 'C'):
      if (c->strict && !listed) return dummy(c, el, e);
      return text_clean(c, el, action == DICOM_KEEP ? DICOM_CODE : mode_of(c, el, action == DICOM_CLEAN), e);
    default: break;
  }
  bool bytes = el->vr == DICOM_UN || el->vr == VR('O', 'B') || el->vr == VR('O', 'W');
  if (el->vr == DICOM_UN || (bytes && el->tag >> 16 != 0x7FE0 && dicom_known_in(&c->known, el->value))) {
    count_removed(c, el);
    *remove = true;
  }
  return OK;
}

/* Overlay planes are decided with their whole group (overlays_clean), curves are numbers. */
static enum dicom_action action_of(const struct clean *c, const struct dicom_element *el) {
  enum dicom_action a = dicom_profile_action(c->p, el->tag);
  bool graphics = (el->tag >> 24) == 0x60 || (el->tag >> 24) == 0x50;
  return a == DICOM_CLEAN && graphics && el->vr != VR('L', 'T') && el->vr != VR('L', 'O') ? DICOM_KEEP : a;
}

/* A file may call an element what it is not. The dictionary's word holds between texts; a text that comes as bytes, or the other way, goes. */
static bool vr_right(struct dicom_element *el) {
  uint16_t vr = dicom_dictionary_vr(el->tag);
  if (!vr || vr == el->vr || el->vr == DICOM_UN) return el->vr != DICOM_UN || !vr || vr == DICOM_UN;
  if (dicom_is_text(vr) != dicom_is_text(el->vr) || (vr == DICOM_SQ) != (el->vr == DICOM_SQ)) return false;
  if (dicom_is_text(vr)) el->vr = vr;
  return true;
}

static int element_clean(struct clean *c, struct dicom_element *el, bool *remove, struct error *e) {
  if (!vr_right(el)) {
    c->counts->unknown_removed++;
    return *remove = true, OK;
  }
  enum dicom_action action = action_of(c, el);
  if (el->tag == DICOM_CHARSET) return text_clean(c, el, DICOM_TERM, e);
  if (is_temporal(el->vr)) return temporal_clean(c, el, action, remove, e);
  if (action == DICOM_UNLISTED && !dicom_dictionary_vr(el->tag)) {
    c->counts->unknown_removed++;
    *remove = true;
    return OK;
  }
  switch (action) {
    case DICOM_REMOVE: count_removed(c, el); return *remove = true, OK;
    case DICOM_EMPTY: return empty(c, el);
    case DICOM_DUMMY:
      if (el->vr == DICOM_SQ) return items_clean(c, el, true, e);
      if (el->vr == VR('U', 'I')) return uids(c, el, false, e);
      return el->value.n ? dummy(c, el, e) : OK;
    case DICOM_NEW_UID: return el->vr == VR('U', 'I') ? uids(c, el, false, e) : empty(c, el);
    default: break;
  }
  if (el->vr == DICOM_SQ) return items_clean(c, el, false, e);
  if (action == DICOM_KEEP && dicom_is_text(el->vr) && dicom_profile_number(c->p, el->tag)) return device_number(c, el, e);
  return value_clean(c, el, action, remove, e);
}

/* ---- private elements ---- */

static struct str creator_of(const struct dicom_set *s, uint32_t tag) {
  if ((tag & 0xFFFF) < 0x1000) return STR_NONE;
  return dicom_text(s, (tag & 0xFFFF0000) | (tag >> 8 & 0xFF));
}

static bool private_safe(struct clean *c, const struct dicom_set *s, struct dicom_element *el) {
  struct str creator = creator_of(s, el->tag);
  uint16_t vr = creator.n && dicom_profile_option(c->p, DICOM_SAFE_PRIVATE) ? dicom_profile_safe(c->p, creator, el->tag) : 0;
  bool fits =
      vr && el->items == NULL && el->vr != DICOM_SQ && (el->vr == DICOM_UN || el->vr == vr) && !dicom_known_in(&c->known, el->value);
  if (fits) el->vr = vr;
  return fits;
}

/* A creator stays when an element of its block does. */
static bool block_used(const struct dicom_set *s, uint32_t creator, const bool *kept) {
  uint32_t i = 0;
  for (const struct dicom_element *el = s->first; el; el = el->next, i++)
    if (kept[i] && el->tag >> 16 == creator >> 16 && (el->tag >> 8 & 0xFF) == (creator & 0xFF) && (el->tag & 0xFFFF) >= 0x1000) return true;
  return false;
}

static int private_clean(struct clean *c, struct dicom_set *s, struct error *e) {
  uint32_t n = 0, i = 0, odd = 0;
  for (const struct dicom_element *el = s->first; el; el = el->next) n++, odd += dicom_private(el->tag);
  if (!odd) return OK;
  bool *kept = arena_array(c->f->arena, bool, n);
  if (!kept) return error_set(e, E_NOMEM, "no memory for private elements");
  for (struct dicom_element *el = s->first; el; el = el->next, i++) kept[i] = !dicom_private(el->tag) || private_safe(c, s, el);
  i = 0;
  for (struct dicom_element *el = s->first; el; el = el->next, i++) {
    uint32_t number = el->tag & 0xFFFF;
    if (dicom_private(el->tag) && number >= 0x10 && number <= 0xFF) kept[i] = block_used(s, el->tag, kept);
  }
  struct dicom_element **link = &s->first, *el = s->first;
  s->last = NULL;
  for (i = 0; el; el = el->next, i++) {
    if (dicom_private(el->tag)) *(kept[i] ? &c->counts->private_kept : &c->counts->private_removed) += 1;
    if (!kept[i]) continue;
    *link = s->last = el;
    link = &el->next;
  }
  *link = NULL;
  return OK;
}

/* ---- one item, one file ---- */

static int set_clean(struct clean *c, struct dicom_set *s, struct error *e) {
  const struct dicom_element *charset = dicom_find(s, DICOM_CHARSET);
  if (charset) c->charset = dicom_value(charset);
  struct str scheme = dicom_text(s, CODE_SCHEME);
  c->coded = scheme.n && dicom_profile_scheme(c->p, scheme);
  bool coded = c->coded;
  TRY(private_clean(c, s, e));
  struct dicom_element **link = &s->first, *el = s->first;
  s->last = NULL;
  for (; el; el = el->next) {
    bool remove = (el->tag & 0xFFFF) == 0 || el->tag >> 16 < 8;
    c->coded = coded;
    if (!remove && dicom_private(el->tag))
      TRY(dicom_is_text(el->vr) && el->vr != VR('L', 'O') ? value_clean(c, el, DICOM_UNLISTED, &remove, e) : OK);
    else if (!remove)
      TRY(element_clean(c, el, &remove, e));
    if (remove) continue;
    *link = s->last = el;
    link = &el->next;
  }
  *link = NULL;
  return OK;
}

static bool zeros(struct str s) {
  for (size_t i = 0; i < s.n; i++)
    if (s.p[i]) return false;
  return true;
}

/* Planes of old files lie in a bit of the pixels that the image does not use. */
static int bit_clear(struct clean *c, uint32_t group, struct error *e) {
  uint16_t position = 0, allocated = 0, stored = 0, high = 0;
  struct dicom_set *s = &c->f->data;
  struct dicom_element *pixels = dicom_find(s, DICOM_PIXELS);
  bool known = dicom_u16(c->f, s, DICOM_TAG(group, 0x102), &position) && dicom_u16(c->f, s, DICOM_TAG(0x28, 0x100), &allocated) &&
               dicom_u16(c->f, s, DICOM_TAG(0x28, 0x101), &stored) && dicom_u16(c->f, s, DICOM_TAG(0x28, 0x102), &high);
  if (!known || !pixels || pixels->encapsulated || allocated != 16 || position > 15 || stored > high + 1) return OK;
  if (position <= high && position > high - stored) return OK; /* a bit of the image itself */
  char *copy = arena_strndup(c->f->arena, pixels->value.p, pixels->value.n);
  if (!copy) return error_set(e, E_LIMIT, "no room for the pixels");
  size_t byte = (position >= 8) != c->f->big;
  for (size_t i = byte; i < pixels->value.n; i += 2) copy[i] = (char)(copy[i] & ~(1 << (position & 7)));
  pixels->value.p = copy;
  return OK;
}

/* Overlay planes can hold drawn text. An empty plane stays where the policy cleans graphics; any other goes with its whole group. */
static int overlays_clean(struct clean *c, struct error *e) {
  struct dicom_set *s = &c->f->data;
  for (uint32_t group = 0x6000; group < 0x6100; group += 2) {
    const struct dicom_element *plane = dicom_find(s, DICOM_TAG(group, 0x3000));
    bool stays = dicom_profile_option(c->p, DICOM_CLEAN_GRAPHICS) && plane && zeros(plane->value), any = false;
    if (stays) continue;
    if (!plane) TRY(bit_clear(c, group, e));
    for (struct dicom_element *el = s->first, *next; el; el = next) {
      next = el->next;
      if (el->tag >> 16 != group) continue;
      any = true;
      dicom_remove(s, el->tag);
    }
    c->counts->overlays_removed += any;
  }
  return OK;
}

int dicom_clean(const struct dicom_profile *p, struct dicom_file *f, const struct dicom_person *who, struct dicom_counts *counts,
                struct error *e) {
  struct clean c = {.p = p, .f = f, .who = who, .counts = counts};
  for (const struct dicom_element *el = f->data.first; el; el = el->next)
    if (el->tag >> 16 == 0x0004) return error_set(e, E_INPUT, "a DICOMDIR is an index of files: it is not taken");
  dicom_known_init(&c.known, p, f->arena);
  TRY(known_vault(&c, e));
  TRY(known_set(&c, &f->data, STR_NONE, e));
  TRY(set_clean(&c, &f->data, e));
  TRY(overlays_clean(&c, e));
  counts->files++;
  TRY(dicom_set_text(f, &f->data, DICOM_PATIENT_NAME, VR('P', 'N'), str_c(who->pseudonym), e));
  return dicom_set_text(f, &f->data, DICOM_PATIENT_ID, VR('L', 'O'), str_c(who->pseudonym), e);
}
