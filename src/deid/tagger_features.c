/* Feature templates: each is a few attributes of neighbouring tokens, hashed into 32 bits with the template's number. */
#include "deid/tagger_private.h"

static inline uint32_t mix(uint32_t number, uint32_t a, uint32_t b, uint32_t c) {
  uint64_t x = ((uint64_t)b << 32 | a) ^ (uint64_t)(number + 1) * 0x9E3779B97F4A7C15u;
  x *= 0xBF58476D1CE4E5B9u;
  x ^= (x >> 31) ^ ((uint64_t)c * 0x94D049BB133111EBu);
  x *= 0xD6E8FEB86659FD93u;
  return (uint32_t)(x >> 32);
}

#define F1(k, a) \
  if (templates[(k) / 64] >> (k) % 64 & 1) out[n++] = mix(k, (a), 0, 0)
#define F2(k, a, b) \
  if (templates[(k) / 64] >> (k) % 64 & 1) out[n++] = mix(k, (a), (b), 0)
#define F3(k, a, b, c) \
  if (templates[(k) / 64] >> (k) % 64 & 1) out[n++] = mix(k, (a), (b), (c))
#define S(i) t[i].shape
#define W(i) t[i].word
#define G(i) (uint32_t) t[i].lists
#define K(i) t[i].kind

/* The numbers are part of the file format: a new template takes a new number. */
uint32_t tagger_features(const struct tagger_token *t, const uint64_t templates[2], uint32_t out[TAGGER_FEATURES]) {
  uint32_t n = 0;
  out[n++] = mix(199, 0, 0, 0);
  F1(0, W(0));
  F1(1, W(-1));
  F1(2, W(1));
  F1(3, W(-2));
  F1(4, W(2));
  F1(5, W(-3));
  F1(6, W(3));
  F2(7, W(-1), W(0));
  F2(8, W(0), W(1));
  F2(9, W(-2), W(-1));
  F2(10, W(1), W(2));
  F2(11, W(-1), W(1));
  F1(12, t->form);
  F2(13, S(-1), S(0));
  F2(14, S(0), S(1));
  F3(15, S(-1), S(0), S(1));
  F3(16, S(-2), S(-1), S(0));
  F3(17, S(0), S(1), S(2));
  F3(18, S(-2) | S(-1) << 16, S(0), S(1) | S(2) << 16);
  F1(19, t->prefix2);
  F1(20, t->prefix3);
  F1(21, t->prefix4);
  F1(22, t->suffix2);
  F1(23, t->suffix3);
  F1(24, t->suffix4);
  F2(25, t->suffix3, S(0));
  F2(26, G(-1) << 16 | G(0), S(0));
  F2(27, G(0) << 16 | G(1), S(0) << 8 ^ S(1));
  F2(28, t->field, t->since);
  F2(29, t->field, S(0));
  F2(30, t->field, W(0));
  F2(31, t->line2, S(0));
  F2(32, t->line1, S(0));
  F3(33, t->place, t->space, S(0));
  F2(34, t->above, S(0));
  F2(35, W(-1), S(0));
  F2(36, S(0), W(1));
  F3(37, W(-2), W(-1), S(0));
  F3(38, S(0), W(1), W(2));
  F2(39, t->memory, S(0));
  F2(40, t->again, S(0) | G(0) << 16);
  F2(41, t->chunk, t->at);
  F2(42, t->form, t->space);
  F3(43, W(-3), W(-2), W(-1));
  F2(44, t[-1].suffix3, S(0));
  F2(45, S(0), t[1].suffix3);
  F2(46, W(-1), G(0));
  F2(47, G(0), W(1));
  F2(48, t->field, t->prefix3);
  F2(49, t->line2, t->place);
  F2(50, t->space << 8 | t[1].space, S(0) ^ S(1) << 16);
  F3(51, S(-2), S(-1), G(0));
  F3(52, G(0), S(1), S(2));
  F2(53, W(-2), S(-1) << 16 | S(0));
  F2(54, S(0) << 16 | S(1), W(2));
  F2(55, t->above, t->place);
  F2(56, t->memory, t[-1].memory);
  F3(57, W(-1), W(0), W(1));
  F2(58, t->field, W(-1));
  F2(59, t->pattern, t->at);
  F2(60, t[1].prefix3, t[-1].suffix3);
  F2(61, t->clause, S(0));
  F2(62, t->clause, t->inside);
  F2(63, t->ahead, S(0));
  F2(64, t->trail & 0xFFFF, S(0));
  F2(65, t->trail & 0xFFFF, W(0));
  F2(66, t->trail >> 16, S(0));
  F2(67, t->trail >> 16, W(0));
  F3(68, t->trail >> 16, W(-1), S(0));
  F3(69, W(-1), S(0), W(1));
  F3(70, G(-1), W(0), G(1));
  F3(71, t->suffix3, W(-1), S(1));
  if (!tagger_asks_kinds(templates)) return n;
  F2(72, K(-1), S(0));
  F2(73, S(0), K(1));
  F3(74, K(-2), K(-1), S(0));
  F3(75, S(0), K(1), K(2));
  F3(76, K(-1), K(0), K(1));
  F3(77, K(-2), K(-1), K(0));
  F3(78, K(0), K(1), K(2));
  F3(79, K(-3), K(-2), K(-1));
  F3(80, K(1), K(2), K(3));
  F3(81, t[-1].kind * 31 + t[-2].kind, S(0), t[1].kind * 31 + t[2].kind);
  F1(82, K(0));
  F3(83, t->left, S(0), t->run);
  F3(84, t->right, S(0), t->run);
  F3(85, t->left, t->right, S(0));
  F2(86, t->left, G(0));
  F2(87, t->right, G(0));
  F3(88, t->left, t->right, G(0));
  F2(89, t->left2, S(0));
  F2(90, t->right2, S(0));
  F3(91, t->left2, t->right, S(0));
  F3(92, t->left, t->right2, S(0));
  F3(93, W(-1), S(0), K(1));
  F3(94, K(-1), S(0), W(1));
  F2(95, t->run, G(0));
  return n;
}
