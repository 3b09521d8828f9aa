/* Looking into the tree and changing it. */
#include <stdlib.h>

#include "record/dicom.h"

struct dicom_element *dicom_find(const struct dicom_set *s, uint32_t tag) {
  for (struct dicom_element *el = s->first; el; el = el->next)
    if (el->tag == tag) return el;
  return NULL;
}

struct str dicom_value(const struct dicom_element *el) {
  if (!el || !dicom_is_text(el->vr)) return STR_NONE;
  struct str s = el->value;
  while (s.n && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == 0)) s.n--;
  while (s.n && *s.p == ' ') s.p++, s.n--;
  return s;
}

struct str dicom_text(const struct dicom_set *s, uint32_t tag) {
  return dicom_value(dicom_find(s, tag));
}

struct str dicom_part(struct str *rest) {
  return str_trim(str_cut(rest, '\\'));
}

bool dicom_u16(const struct dicom_file *f, const struct dicom_set *s, uint32_t tag, uint16_t *out) {
  const struct dicom_element *el = dicom_find(s, tag);
  if (!el || el->value.n < 2 || el->vr == DICOM_SQ || dicom_is_text(el->vr)) return false;
  const uint8_t *p = (const uint8_t *)el->value.p;
  *out = f->big ? (uint16_t)(p[0] << 8 | p[1]) : (uint16_t)(p[1] << 8 | p[0]);
  return true;
}

bool dicom_number(const struct dicom_set *s, uint32_t tag, double *out) {
  struct str rest = dicom_text(s, tag), first = rest.n ? dicom_part(&rest) : STR_NONE;
  if (first.n && *first.p == '+') first.p++, first.n--;
  return first.n && str_to_f64(first, out) == OK;
}

struct dicom_element *dicom_make(struct dicom_file *f, struct dicom_set *s, uint32_t tag, uint16_t vr) {
  struct dicom_element *el = dicom_find(s, tag), *before = NULL;
  if (!el) {
    for (struct dicom_element *i = s->first; i && i->tag < tag; i = i->next) before = i;
    el = arena_new(f->arena, struct dicom_element);
    if (!el) return NULL;
    el->next = before ? before->next : s->first;
    if (before)
      before->next = el;
    else
      s->first = el;
    if (!el->next) s->last = el;
  }
  struct dicom_element *next = el->next;
  *el = (struct dicom_element){.tag = tag, .vr = vr, .next = next};
  return el;
}

int dicom_set_value(struct dicom_file *f, struct dicom_element *el, struct str value, struct error *e) {
  char *copy = arena_alloc(f->arena, value.n + 2, 2);
  if (!copy) return error_set(e, E_NOMEM, "no memory for a value");
  if (value.n) memcpy(copy, value.p, value.n);
  bool zero = el->vr == DICOM_VR('U', 'I') || !dicom_is_text(el->vr);
  if (value.n & 1) copy[value.n] = zero ? 0 : ' ';
  el->value = (struct str){copy, value.n + (value.n & 1)};
  el->items = NULL;
  el->encapsulated = false;
  return OK;
}

int dicom_set_text(struct dicom_file *f, struct dicom_set *s, uint32_t tag, uint16_t vr, struct str value, struct error *e) {
  struct dicom_element *el = dicom_make(f, s, tag, vr);
  if (!el) return error_set(e, E_NOMEM, "no memory for an element");
  return dicom_set_value(f, el, value, e);
}

struct dicom_item *dicom_item_add(struct dicom_file *f, struct dicom_element *sequence) {
  struct dicom_item *item = arena_new(f->arena, struct dicom_item), **link = &sequence->items;
  while (*link) link = &(*link)->next;
  *link = item;
  return item;
}

void dicom_remove(struct dicom_set *s, uint32_t tag) {
  struct dicom_element **link = &s->first;
  s->last = NULL;
  while (*link) {
    if ((*link)->tag == tag)
      *link = (*link)->next;
    else
      s->last = *link, link = &(*link)->next;
  }
}
