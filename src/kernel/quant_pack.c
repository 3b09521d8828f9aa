/* Block formats: reading them, and laying them out anew for the vector columns. The formats are those of GGUF files. */
#include <math.h>
#include <string.h>

#include "kernel/kernel.h"
#include "kernel/quant_columns.h"

float quant_half(uint16_t h) {
  uint32_t sign = (uint32_t)(h & 0x8000u) << 16, exponent = h >> 10 & 31u, mantissa = h & 1023u;
  union {
    uint32_t u;
    float f;
  } v;
  if (exponent == 0) {
    v.f = (float)mantissa * 0x1p-24f;
    v.u |= sign;
    return v.f;
  }
  v.u = sign | (exponent == 31 ? 0x7f800000u : (exponent + 112) << 23) | mantissa << 13;
  return v.f;
}

uint16_t quant_to_half(float x) {
  union {
    float f;
    uint32_t u;
  } v = {x};
  uint32_t sign = v.u >> 16 & 0x8000u, a = v.u & 0x7fffffffu;
  if (a > 0x7f800000u) return (uint16_t)(sign | 0x7e00u);
  if (a >= 0x477ff000u) return (uint16_t)(sign | 0x7c00u);
  if (a < 0x38800000u) { /* subnormal: let the float unit round */
    v.u = a;
    v.f += 0.5f;
    return (uint16_t)(sign | (v.u - 0x3f000000u));
  }
  a += 0xfffu + (a >> 13 & 1u);
  return (uint16_t)(sign | (a - 0x38000000u) >> 13);
}

static float half_at(const uint8_t *p) { return quant_half((uint16_t)(p[0] | p[1] << 8)); }

/* One block of the file's as quants, scales and minima of 32 columns each; the form that packing and reading share. */
struct part {
  uint8_t q[32];
  float scale[2], minimum; /* scale[1]: of the second 16 columns */
  uint16_t scale_half, minimum_half;
};

/* Scales and minima of Q4_K and Q5_K: eight pairs of 6 bits in 12 bytes. */
static void k_scale(const uint8_t *s, int i, unsigned *scale, unsigned *minimum) {
  if (i < 4) {
    *scale = s[i] & 63u;
    *minimum = s[i + 4] & 63u;
  } else {
    *scale = (s[i + 4] & 15u) | (s[i - 4] >> 6) << 4;
    *minimum = (unsigned)(s[i + 4] >> 4) | (s[i] >> 6) << 4;
  }
}

static void part_k45(uint32_t type, const uint8_t *block, int i, struct part *p) {
  unsigned scale, minimum;
  bool five = type == QUANT_Q5_K;
  const uint8_t *high = block + 16, *low = block + (five ? 48 : 16) + 32 * (i / 2);
  k_scale(block + 4, i, &scale, &minimum);
  p->scale[0] = half_at(block) * (float)scale;
  p->minimum = half_at(block + 2) * (float)minimum;
  for (int j = 0; j < 32; j++) {
    p->q[j] = i % 2 ? low[j] >> 4 : low[j] & 15;
    if (five) p->q[j] = (uint8_t)(p->q[j] | (high[j] >> i & 1) << 4);
  }
}

static void part_k6(const uint8_t *block, int i, struct part *p) {
  const uint8_t *low = block + 64 * (i / 4) + 32 * (i % 2), *high = block + 128 + 32 * (i / 4);
  const int8_t *scale = (const int8_t *)block + 192 + 2 * i;
  for (int j = 0; j < 32; j++) {
    unsigned nibble = i % 4 < 2 ? low[j] & 15u : low[j] >> 4;
    p->q[j] = (uint8_t)(nibble | (high[j] >> 2 * (i % 4) & 3u) << 4);
  }
  float d = half_at(block + 208);
  p->scale[0] = d * scale[0];
  p->scale[1] = d * scale[1];
}

/* Q4_0, Q4_1, Q5_0, Q5_1, Q8_0 */
static void part_plain(uint32_t type, const uint8_t *b, struct part *p) {
  bool minima = type == QUANT_Q4_1 || type == QUANT_Q5_1, five = type == QUANT_Q5_0 || type == QUANT_Q5_1;
  memcpy(&p->scale_half, b, 2);
  p->scale[0] = p->scale[1] = quant_half(p->scale_half);
  b += 2;
  if (minima) {
    memcpy(&p->minimum_half, b, 2);
    p->minimum_half ^= 0x8000u; /* the file adds it, the packed form takes it away */
    p->minimum = quant_half(p->minimum_half);
    b += 2;
  }
  if (type == QUANT_Q8_0) {
    for (int j = 0; j < 32; j++) p->q[j] = b[j] ^ 0x80u;
    return;
  }
  uint32_t high = 0;
  if (five) memcpy(&high, b, 4), b += 4;
  for (int j = 0; j < 16; j++) {
    p->q[j] = (uint8_t)((b[j] & 15) | (high >> j & 1) << 4);
    p->q[j + 16] = (uint8_t)(b[j] >> 4 | (high >> (j + 16) & 1) << 4);
  }
}

static void part_read(uint32_t type, const uint8_t *row, int block, struct part *p) {
  *p = (struct part){0};
  switch (type) {
    case QUANT_Q4_K: part_k45(type, row + (size_t)(block / 8) * 144, block % 8, p); break;
    case QUANT_Q5_K: part_k45(type, row + (size_t)(block / 8) * 176, block % 8, p); break;
    case QUANT_Q6_K: part_k6(row + (size_t)(block / 8) * 210, block % 8, p); break;
    case QUANT_Q4_0: part_plain(type, row + (size_t)block * 18, p); break;
    case QUANT_Q4_1: part_plain(type, row + (size_t)block * 20, p); break;
    case QUANT_Q5_0: part_plain(type, row + (size_t)block * 22, p); break;
    case QUANT_Q5_1: part_plain(type, row + (size_t)block * 24, p); break;
    default: part_plain(QUANT_Q8_0, row + (size_t)block * 34, p);
  }
}

static int zero_shift(uint32_t type) {
  switch (type) {
    case QUANT_Q4_0: return 3;
    case QUANT_Q5_0: return 4;
    case QUANT_Q6_K: return 5;
    case QUANT_Q8_0: return 7;
    default: return -1;
  }
}

size_t quant_bytes(uint32_t type, size_t n) {
  static const struct {
    uint32_t type, elements, bytes;
  } size[] = {{QUANT_F32, 1, 4},      {QUANT_F16, 1, 2},      {QUANT_BF16, 1, 2},    {QUANT_Q4_0, 32, 18},
              {QUANT_Q4_1, 32, 20},   {QUANT_Q5_0, 32, 22},   {QUANT_Q5_1, 32, 24},  {QUANT_Q8_0, 32, 34},
              {QUANT_Q4_K, 256, 144}, {QUANT_Q5_K, 256, 176}, {QUANT_Q6_K, 256, 210}};
  for (size_t i = 0; i < sizeof size / sizeof *size; i++)
    if (size[i].type == type) return n % size[i].elements ? 0 : n / size[i].elements * size[i].bytes;
  return 0;
}

void quant_dequantise(uint32_t type, const uint8_t *block, size_t n, float *out) {
  if (type == QUANT_F32) {
    memcpy(out, block, n * 4);
    return;
  }
  if (type == QUANT_F16 || type == QUANT_BF16) {
    for (size_t i = 0; i < n; i++) {
      uint16_t h;
      memcpy(&h, block + 2 * i, 2);
      union {
        uint32_t u;
        float f;
      } v = {(uint32_t)h << 16};
      out[i] = type == QUANT_F16 ? quant_half(h) : v.f;
    }
    return;
  }
  int shift = zero_shift(type), zero = shift < 0 ? 0 : 1 << shift;
  for (size_t b = 0; b < n / 32; b++) {
    struct part p;
    part_read(type, block, (int)b, &p);
    if (type != QUANT_Q6_K) p.scale[1] = p.scale[0];
    for (int j = 0; j < 32; j++) out[32 * b + (size_t)j] = p.scale[j / 16] * (float)(p.q[j] - zero) - p.minimum;
  }
}

size_t quant_plan(uint32_t type, int rows, int columns, struct quant_matrix *w) {
  *w = (struct quant_matrix){.type = type, .rows = rows, .columns = columns, .zero_shift = zero_shift(type)};
  bool k = type == QUANT_Q4_K || type == QUANT_Q5_K || type == QUANT_Q6_K;
  if (type == QUANT_F32 || type == QUANT_F16 || type == QUANT_BF16 || !quant_bytes(type, (size_t)columns)) return 0;
  w->nibbles = type == QUANT_Q4_0 || type == QUANT_Q4_1 || type == QUANT_Q4_K;
  w->minima = type == QUANT_Q4_1 || type == QUANT_Q5_1 || type == QUANT_Q4_K || type == QUANT_Q5_K;
  w->halves = type == QUANT_Q6_K;
  w->wide = k;
  w->activation = k ? QUANT_A8_K : w->minima ? QUANT_A8_SUM : QUANT_A8;
  w->block_bytes = (size_t)(w->wide ? 64 : 32) * (size_t)(1 + w->halves + w->minima) + (w->nibbles ? 256 : 512);
  return (size_t)quant_groups(w) * (size_t)(columns / 32) * w->block_bytes;
}

static void pack_part(const struct quant_matrix *w, const struct part *p, int row, uint8_t *to) {
  size_t one = w->wide ? 4 : 2;
  if (w->wide) {
    memcpy(to + 4 * row, &p->scale[0], 4);
    if (w->halves) memcpy(to + 64 + 4 * row, &p->scale[1], 4);
    if (w->minima) memcpy(to + 64 + 4 * row, &p->minimum, 4);
  } else {
    memcpy(to + 2 * row, &p->scale_half, 2);
    if (w->minima) memcpy(to + 32 + 2 * row, &p->minimum_half, 2);
  }
  to += 16 * one * (size_t)(1 + w->halves + w->minima);
  for (int quad = 0; quad < 8; quad++)
    for (int i = 0; i < 4; i++) {
      uint8_t q = p->q[4 * quad + i];
      if (!w->nibbles)
        to[64 * quad + 4 * row + i] = q;
      else if (quad < 4)
        to[64 * quad + 4 * row + i] = q;
      else
        to[64 * (quad - 4) + 4 * row + i] |= (uint8_t)(q << 4);
    }
}

void quant_pack(struct quant_matrix *w, const uint8_t *file, void *memory, int first_group, int end_group) {
  size_t row_bytes = quant_bytes(w->type, (size_t)w->columns);
  int blocks = w->columns / 32;
  w->packed = memory;
  for (int g = first_group; g < end_group; g++)
    for (int b = 0; b < blocks; b++) {
      uint8_t *to = (uint8_t *)memory + ((size_t)g * (size_t)blocks + (size_t)b) * w->block_bytes;
      memset(to, 0, w->block_bytes);
      for (int r = 0; r < 16 && 16 * g + r < w->rows; r++) {
        struct part p;
        part_read(w->type, file + (size_t)(16 * g + r) * row_bytes, b, &p);
        pack_part(w, &p, r, to);
      }
    }
}

size_t byte_matrix_bytes(int rows, int columns) {
  size_t padded = (size_t)(rows + 15) / 16 * 16;
  return padded * (byte_columns(columns) + sizeof(float) + sizeof(int32_t));
}

bool byte_matrix_pack(const float *weight, int rows, int columns, void *memory, struct byte_matrix *w) {
  size_t padded = (size_t)(rows + 15) / 16 * 16, across = byte_columns(columns);
  int8_t *to = memory;
  float *scale = (float *)(void *)(to + padded * across);
  int32_t *begin = (int32_t *)(void *)(scale + padded);
  memset(memory, 0, byte_matrix_bytes(rows, columns));
  *w = (struct byte_matrix){rows, columns, to, scale, begin};
  for (int r = 0; r < rows; r++, weight += columns) {
    float most = 0;
    for (int i = 0; i < columns; i++) {
      if (!isfinite(weight[i])) return false;
      most = fmaxf(most, fabsf(weight[i]));
    }
    scale[r] = most / 127;
    for (int i = 0; i < columns; i++) {
      int q = scale[r] > 0 ? (int)rintf(fmaxf(-127, fminf(127, weight[i] / scale[r]))) : 0;
      to[((size_t)(r / 16) * across + (size_t)(i / 4 * 4)) * 16 + (size_t)(4 * (r % 16) + i % 4)] = (int8_t)q;
      begin[r] -= 128 * q;
    }
  }
  return true;
}

enum { WORD_MOST = 4095, WORD_BLOCK_BYTES = 64 + 64 * WORD_BLOCK / 2 };

size_t word_matrix_bytes(int rows, int columns) { return (size_t)(rows + 15) / 16 * word_blocks(columns) * WORD_BLOCK_BYTES; }

static void pack_words(const float *x, int n, uint8_t *block, int row) {
  float most = 0, scale;
  bool finite = true;
  for (int i = 0; i < n; i++) {
    float a = fabsf(x[i]);
    most = a > most ? a : most, finite &= isfinite(a) != 0;
  }
  scale = finite ? most / WORD_MOST : NAN;
  memcpy(block + 4 * row, &scale, 4);
  for (int i = 0; i < n && finite && most > 0; i++) {
    int16_t q = (int16_t)lrintf(x[i] * (WORD_MOST / most));
    memcpy(block + 64 + 64 * (i / 2) + 4 * row + 2 * (i % 2), &q, 2);
  }
}

void word_matrix_pack(const struct word_matrix *w, uint32_t type, const uint8_t *file, void *memory, int first_group, int end_group) {
  size_t one = quant_bytes(type, 1), blocks = word_blocks(w->columns);
  float x[WORD_BLOCK];
  for (int g = first_group; g < end_group; g++)
    for (int b = 0; b < (int)blocks; b++) {
      uint8_t *to = (uint8_t *)memory + ((size_t)g * blocks + (size_t)b) * WORD_BLOCK_BYTES;
      int n = w->columns - WORD_BLOCK * b < WORD_BLOCK ? w->columns - WORD_BLOCK * b : WORD_BLOCK;
      memset(to, 0, WORD_BLOCK_BYTES);
      for (int r = 0; r < 16 && 16 * g + r < w->rows; r++) {
        quant_dequantise(type, file + ((size_t)(16 * g + r) * (size_t)w->columns + (size_t)(WORD_BLOCK * b)) * one, (size_t)n, x);
        pack_words(x, n, to, r);
      }
    }
}

size_t quant_activations_bytes(int m, size_t columns) {
  size_t n = (size_t)m * columns;
  return n + n / 32 * 4 * 3 + n / 16 * 4 + 5 * 64;
}

static void *place(uint8_t **at, size_t n) {
  void *p = *at;
  *at += (n + 63) / 64 * 64;
  return p;
}

void quant_activations_place(struct quant_activations *a, int m, size_t columns, void *memory) {
  uint8_t *at = memory;
  size_t n = (size_t)m * columns;
  a->columns = columns;
  a->q = place(&at, n);
  a->scale = place(&at, n / 32 * 4);
  a->sum = place(&at, n / 32 * 4);
  a->minus = place(&at, n / 16 * 4);
  a->minus_whole = place(&at, n / 32 * 4);
}

int quant_all(const struct quant_kernel *out[4]) {
  int n = 0;
  out[n++] = &quant_column_ref;
  if (kernel_pick(KERNEL_AVX2, KERNEL_F32)) out[n++] = &quant_column_avx2;
  if (kernel_pick(KERNEL_AVX512, KERNEL_F32)) out[n++] = &quant_column_avx512;
  return n;
}

const struct quant_kernel *quant_pick(const char *name) {
  const struct quant_kernel *all[4];
  int n = quant_all(all);
  if (!name) return all[n - 1];
  for (int i = 0; i < n; i++)
    if (strcmp(all[i]->name, name) == 0) return all[i];
  return NULL;
}
