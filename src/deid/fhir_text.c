/* Free text of FHIR resources through the text scrubber: strings, annotations, attachments of plain text, narrative. What the policy's scrubber does
 * not let pass, and any text of nobody, is dropped. */
#include <sodium.h>
#include <stdio.h>

#include "deid/deid_known.h"
#include "deid/fhir_private.h"
#include "record/fhir.h"

static uint32_t member(const struct fhir_deid *f, uint32_t i, const char *name) { return json_tree_get(&f->doc.json, i, str_c(name)); }

/* 1 = *out may stay, in f->scratch; 0 = it goes; < 0 failure */
static int scrub(struct fhir_deid *f, struct str text, struct str *out, struct error *e) {
  struct identity *id = fhir_identity(f);
  struct text_result res;
  int why;
  if (!text.n) return 0;
  if (f->policy.text == DEID_TEXT_DROP || !id || f->no_text) return f->n.texts_dropped++, 0;
  if (!f->known) TRY(deid_known_new(&f->policy, &f->known, e));
  TRY(deid_known_scrub(f->known, f->vault, id, text, &res, &why, e));
  if (why || !res.text.n) return f->n.texts_dropped++, 0;
  *out = str_copy(&f->scratch, res.text);
  if (!out->p) return error_set(e, E_LIMIT, "no room for a text");
  f->n.texts++;
  fhir_label(f, LABEL_MASKED);
  return 1;
}

static void keep(struct fhir_deid *f, uint32_t i) {
  if (i) f->doc.json.at[i].flags |= JSON_TREE_DONE;
}

int fhir_text_string(struct fhir_deid *f, uint32_t i, struct error *e) {
  struct str type = fhir_type_of(f->types, f->doc.json.at[i].type)->name, out;
  bool text = str_eqc(type, "string") || str_eqc(type, "markdown");
  int rc = text ? scrub(f, json_tree_str(&f->doc.json, i), &out, e) : 0;
  if (rc == 1) return json_tree_set_str(&f->doc.json, i, out, e);
  f->n.redacted++;
  fhir_label(f, LABEL_REDACTED);
  fhir_null(f, i);
  return rc;
}

/* ---- members of an object: one text stays, beside what is named; the rest goes ---- */

static int rest(struct fhir_deid *f, uint32_t i) {
  fhir_redact_all(f, i);
  return OK;
}

int fhir_text_annotation(struct fhir_deid *f, uint32_t i, struct error *e) {
  uint32_t text = member(f, i, "text");
  struct str out;
  if (!text || f->doc.json.at[text].kind != JSON_STRING) return rest(f, i);
  int rc = scrub(f, json_tree_str(&f->doc.json, text), &out, e);
  if (rc == 1) rc = json_tree_set_str(&f->doc.json, text, out, e), keep(f, text);
  return rc < 0 ? rc : rest(f, i);
}

int fhir_text_attachment(struct fhir_deid *f, uint32_t i, struct error *e) {
  uint32_t type = member(f, i, "contentType"), data = member(f, i, "data");
  struct str kind = type ? json_tree_str(&f->doc.json, type) : STR_NONE, packed = data ? json_tree_str(&f->doc.json, data) : STR_NONE, out;
  kind = str_cut(&kind, ';');
  if (!packed.n || !str_eq_nocase(str_trim(kind), STR("text/plain"))) return rest(f, i);
  char *plain = arena_alloc(&f->scratch, packed.n / 4 * 3 + 3, 1);
  if (!plain) return error_set(e, E_LIMIT, "no room for a text");
  struct str text = {plain, 0};
  if (!fhir_base64(packed, plain, &text.n) || !str_utf8_valid(text)) return f->n.texts_dropped++, rest(f, i);
  int rc = scrub(f, text, &out, e);
  TRY(rc);
  if (rc == 0) return rest(f, i);
  size_t room = sodium_base64_encoded_len(out.n, sodium_base64_VARIANT_ORIGINAL);
  char *again = arena_alloc(&f->scratch, room, 1);
  if (!again) return error_set(e, E_LIMIT, "no room for a text");
  sodium_bin2base64(again, room, (const uint8_t *)out.p, out.n, sodium_base64_VARIANT_ORIGINAL);
  TRY(json_tree_set_str(&f->doc.json, data, (struct str){again, room - 1}, e));
  TRY(json_tree_set_str(&f->doc.json, type, STR("text/plain; charset=utf-8"), e));
  keep(f, data);
  keep(f, type);
  return rest(f, i);
}

/* ---- narrative ---- */

static bool begins(struct str s, const char *word) {
  size_t n = strlen(word);
  return s.n >= n && str_eq_nocase((struct str){s.p, n}, str_c(word));
}

static void character(struct buf *b, uint32_t c) {
  if (c < 0x80) {
    buf_putc(b, c < ' ' ? ' ' : (char)c);
  } else if (c < 0x800) {
    buf_putc(b, (char)(0xC0 | c >> 6)), buf_putc(b, (char)(0x80 | (c & 0x3F)));
  } else if (c < 0x10000 && (c < 0xD800 || c > 0xDFFF)) {
    buf_putc(b, (char)(0xE0 | c >> 12)), buf_putc(b, (char)(0x80 | (c >> 6 & 0x3F))), buf_putc(b, (char)(0x80 | (c & 0x3F)));
  } else if (c >= 0x10000 && c < 0x110000) {
    buf_putc(b, (char)(0xF0 | c >> 18)), buf_putc(b, (char)(0x80 | (c >> 12 & 0x3F)));
    buf_putc(b, (char)(0x80 | (c >> 6 & 0x3F))), buf_putc(b, (char)(0x80 | (c & 0x3F)));
  }
}

/* &amp; and its like; bytes taken */
static size_t entity(struct str s, struct buf *b) {
  static const struct {
    const char *name;
    uint32_t c;
  } names[] = {{"amp;", '&'}, {"lt;", '<'}, {"gt;", '>'}, {"quot;", '"'}, {"apos;", '\''}, {"nbsp;", ' '}};
  struct str after = {s.p + 1, s.n - 1};
  for (size_t k = 0; k < sizeof names / sizeof *names; k++)
    if (begins(after, names[k].name)) return character(b, names[k].c), 1 + strlen(names[k].name);
  bool hex = after.n > 2 && after.p[0] == '#' && (after.p[1] == 'x' || after.p[1] == 'X');
  uint32_t c = 0;
  size_t n = hex ? 2 : 1, from = n;
  for (; after.n > 1 && after.p[0] == '#' && n < after.n && n < from + 8; n++) {
    char d = after.p[n];
    int v = d >= '0' && d <= '9' ? d - '0' : hex && (d | 32) >= 'a' && (d | 32) <= 'f' ? (d | 32) - 'a' + 10 : -1;
    if (v < 0) break;
    c = c * (hex ? 16 : 10) + (uint32_t)v;
  }
  if (n > from && n < after.n && after.p[n] == ';') return character(b, c), n + 2;
  return buf_putc(b, '&'), 1;
}

static bool block(struct str tag) {
  static const char *const names[] = {"p",  "div", "br", "tr", "li", "ul", "ol",  "table", "h1", "h2",
                                      "h3", "h4",  "h5", "h6", "td", "th", "pre", "hr",    "dt", "dd"};
  size_t n = 0;
  if (tag.n && tag.p[0] == '/') tag = (struct str){tag.p + 1, tag.n - 1};
  while (n < tag.n && ((tag.p[n] | 32) >= 'a' || (tag.p[n] >= '0' && tag.p[n] <= '9')) && (tag.p[n] | 32) <= 'z') n++;
  for (size_t k = 0; k < sizeof names / sizeof *names; k++)
    if (str_eq_nocase((struct str){tag.p, n}, str_c(names[k]))) return true;
  return false;
}

static const char *find(struct str s, const char *word) { return s.n ? memmem(s.p, s.n, word, strlen(word)) : NULL; }

/* The words of a piece of XHTML, a line for each block. Attributes, comments, scripts and styles are no words. */
static void words(struct str s, struct buf *b) {
  while (s.n) {
    size_t used = 1;
    if (*s.p == '<') {
      struct str tag = {s.p + 1, s.n - 1};
      const char *end = begins(tag, "!--")      ? find(tag, "-->")
                        : begins(tag, "script") ? find(tag, "</script")
                        : begins(tag, "style")  ? find(tag, "</style")
                                                : find(tag, ">");
      if (begins(tag, "!--") && end) end += 2;
      used = end ? (size_t)(end - s.p) + (*end == '>') : s.n;
      bool line = block(tag);
      if (line && b->n && b->p[b->n - 1] != '\n') buf_putc(b, '\n');
      if (!line && begins(tag, "script")) buf_putc(b, ' ');
    } else if (*s.p == '&') {
      used = entity(s, b);
    } else {
      bool space = (unsigned char)*s.p <= ' ';
      if (!space || (b->n && b->p[b->n - 1] != ' ' && b->p[b->n - 1] != '\n')) buf_putc(b, space ? ' ' : *s.p);
    }
    s = (struct str){s.p + used, s.n - used};
  }
}

int fhir_text_narrative(struct fhir_deid *f, uint32_t i, struct error *e) {
  uint32_t div = member(f, i, "div"), status = member(f, i, "status");
  struct buf plain = {0}, again = {0};
  struct str out = STR_NONE;
  if (!div || f->doc.json.at[div].kind != JSON_STRING) return rest(f, i);
  words(json_tree_str(&f->doc.json, div), &plain);
  int rc = buf_check(&plain, e);
  if (rc == OK) rc = scrub(f, str_trim((struct str){plain.p, plain.n}), &out, e);
  if (rc == 1) {
    buf_puts(&again, "<div xmlns=\"http://www.w3.org/1999/xhtml\">");
    while (out.p) {
      struct str line = str_trim(str_cut(&out, '\n'));
      if (line.n) buf_puts(&again, "<p>"), buf_html(&again, line), buf_puts(&again, "</p>");
    }
    buf_puts(&again, "</div>");
    rc = buf_check(&again, e);
    if (rc == OK) rc = json_tree_set_str(&f->doc.json, div, (struct str){again.p, again.n}, e);
    keep(f, div);
    if (status && fhir_types_code(f->types, fhir_types_el(f->types, f->doc.json.at[status].el), json_tree_str(&f->doc.json, status)))
      keep(f, status);
  }
  if (plain.p) mem_wipe(plain.p, plain.n);
  buf_release(&plain);
  buf_release(&again);
  return rc < 0 ? rc : rest(f, i);
}
