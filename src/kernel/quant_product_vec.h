/* Private: the forms of blocks, one compiled loop each; after product_tile. */
TILES(tiles_nibble_min, true, true, false, false)       /* Q4_1 */
TILES(tiles_nibble, true, false, false, false)          /* Q4_0 */
TILES(tiles_nibble_min_wide, true, true, false, true)   /* Q4_K */
TILES(tiles_byte, false, false, false, false)           /* Q5_0, Q8_0 */
TILES(tiles_byte_min, false, true, false, false)        /* Q5_1 */
TILES(tiles_byte_min_wide, false, true, false, true)    /* Q5_K */
TILES(tiles_byte_halves_wide, false, false, true, true) /* Q6_K */

static void product(const struct quant_matrix *w, int first, int end, const struct quant_activations *a, int m, float *y, size_t ldy) {
  size_t group_bytes = (size_t)(w->columns / 32) * w->block_bytes;
  for (int g = first; g < end; g++) {
    const uint8_t *p = w->packed + (size_t)g * group_bytes;
    float *to = y + 16 * (size_t)g;
    int valid = w->rows - 16 * g < 16 ? w->rows - 16 * g : 16;
    switch (w->type) {
      case QUANT_Q4_1: tiles_nibble_min(w, p, a, m, to, ldy, valid); break;
      case QUANT_Q4_0: tiles_nibble(w, p, a, m, to, ldy, valid); break;
      case QUANT_Q4_K: tiles_nibble_min_wide(w, p, a, m, to, ldy, valid); break;
      case QUANT_Q5_1: tiles_byte_min(w, p, a, m, to, ldy, valid); break;
      case QUANT_Q5_K: tiles_byte_min_wide(w, p, a, m, to, ldy, valid); break;
      case QUANT_Q6_K: tiles_byte_halves_wide(w, p, a, m, to, ldy, valid); break;
      default: tiles_byte(w, p, a, m, to, ldy, valid);
    }
  }
}
