/* What a hit is worth. The table in words: docs/deid-audit.md. */
#include "deid/audit_private.h"
#include "record/record.h"

static bool rare(const struct audit_context *c) { return c->persons <= AUDIT_RARE; }

/* Written as a word, not as a name. */
static bool as_word(const struct audit_needle *n, const struct audit_context *c) {
  return n->flags & NEEDLE_ORDINARY || (n->flags & NEEDLE_WORD && !c->proper);
}

/* One word of a name. In the person's own text it is an identifier; elsewhere only if it is nobody else's and in no list of words. */
static enum audit_weight name_part(const struct audit_needle *n, const struct audit_context *c) {
  if (n->length < 3) return AUDIT_NONE;
  if (c->own) return as_word(n, c) || (c->at->where == AUDIT_BLOB && n->length < 5) ? AUDIT_WEAK : AUDIT_STRONG;
  if (n->length < 4 || c->at->where == AUDIT_BLOB) return AUDIT_NONE;
  if (c->at->where == AUDIT_TEXT && c->at->surrogates) return AUDIT_WEAK;
  bool name = rare(c) && n->length >= 6 && !(n->flags & NEEDLE_WORD) && c->proper && c->words == 1;
  return name ? AUDIT_STRONG : AUDIT_WEAK;
}

static enum audit_weight name_pair(const struct audit_needle *n, const struct audit_context *c) {
  if (c->own) return AUDIT_STRONG;
  if (c->at->where == AUDIT_BLOB) return n->length >= 8 && !c->loose ? AUDIT_STRONG : AUDIT_NONE;
  if (n->length < 6) return AUDIT_WEAK;
  if (n->flags & NEEDLE_ORDINARY || (n->flags & NEEDLE_WORD && !c->capital)) return AUDIT_WEAK;
  return c->at->where == AUDIT_TEXT && c->at->surrogates ? AUDIT_WEAK : AUDIT_STRONG;
}

/* Only digits. */
static enum audit_weight number(const struct audit_needle *n, const struct audit_context *c) {
  if (n->length < 4) return AUDIT_NONE;
  if (c->at->where == AUDIT_CODE) return n->length >= 5 ? AUDIT_WEAK : AUDIT_NONE; /* see audit_search_owner */
  if (c->grouped) return n->length >= 7 ? AUDIT_WEAK : AUDIT_NONE;
  if (c->own) return n->length >= 5 ? AUDIT_STRONG : AUDIT_WEAK;
  if (c->at->where == AUDIT_BLOB) return n->length >= 8 ? AUDIT_STRONG : AUDIT_NONE;
  if (n->length >= 9) return AUDIT_STRONG;
  if (n->length >= 7) return c->bare ? AUDIT_WEAK : AUDIT_STRONG;
  return n->length >= 5 ? AUDIT_WEAK : AUDIT_NONE;
}

/* Letters, or letters and digits. */
static enum audit_weight whole(const struct audit_needle *n, const struct audit_context *c) {
  bool letters = n->flags & NEEDLE_LETTERS, ordinary = n->flags & NEEDLE_WORD;
  if (n->length < 5) return c->own && !letters && n->length >= 4 ? AUDIT_WEAK : AUDIT_NONE;
  if (c->at->where == AUDIT_BLOB && (n->length < 8 || letters || c->loose) && !c->own) return AUDIT_NONE;
  if (!letters) return n->length >= 6 || c->own ? AUDIT_STRONG : AUDIT_WEAK;
  if (ordinary) return AUDIT_WEAK;
  return c->own || (n->length >= 8 && rare(c)) ? AUDIT_STRONG : AUDIT_WEAK;
}

static enum audit_weight by_form(const struct audit_needle *n, const struct audit_context *c) {
  bool ordinary = n->flags & NEEDLE_WORD;
  switch (n->form) {
    case AUDIT_NAME_PART: return name_part(n, c);
    case AUDIT_NAME_PAIR: return name_pair(n, c);
    case AUDIT_NAME_NEAR: return AUDIT_NONE; /* hashed apart: see try_near */
    case AUDIT_INITIAL: return !c->own ? AUDIT_NONE : n->length >= 5 ? AUDIT_STRONG : AUDIT_WEAK;
    case AUDIT_PLACE_NAME: return !c->own || n->length < 4 ? AUDIT_NONE : as_word(n, c) ? AUDIT_WEAK : AUDIT_STRONG;
    case AUDIT_ADDRESS:
      return n->length >= 8 && (c->own || !c->loose || c->at->where != AUDIT_BLOB) ? AUDIT_STRONG : c->own ? AUDIT_WEAK : AUDIT_NONE;
    case AUDIT_POSTCODE:
      if (n->length >= 9) return c->bare ? AUDIT_WEAK : AUDIT_STRONG;
      return c->own && n->length >= 5 ? AUDIT_STRONG : AUDIT_NONE;
    case AUDIT_PHONE_LOCAL: return c->own && !c->grouped ? AUDIT_STRONG : AUDIT_NONE;
    case AUDIT_MAIL_USER: return c->own && n->length >= 5 ? AUDIT_STRONG : n->length >= 8 && rare(c) && !ordinary ? AUDIT_WEAK : AUDIT_NONE;
    case AUDIT_FLOAT: return c->own ? AUDIT_STRONG : AUDIT_NONE;
    default: return n->flags & NEEDLE_DIGITS ? number(n, c) : whole(n, c);
  }
}

enum audit_weight audit_weigh(const struct audit_needle *n, const struct audit_context *c) {
  enum audit_weight w = by_form(n, c);
  /* what many have in common (a ward's telephone, a plan's number) points at nobody */
  if (w == AUDIT_STRONG && !c->own && c->persons > AUDIT_SHARED && n->form != AUDIT_NAME_PAIR) w = AUDIT_WEAK;
  return w;
}
