/* Value representations of the standard's elements: for implicit VR, for UN, and for telling known elements from unknown ones. */
#include "record/dicom.h"
#include "record/dicom_dictionary.h"

enum { CELL = 6 };

static const struct dicom_dictionary_group *group_of(uint16_t group) {
  size_t lo = 0, hi = dicom_dictionary_n;
  while (lo < hi) {
    size_t mid = (lo + hi) / 2;
    if (dicom_dictionary[mid].group == group) return &dicom_dictionary[mid];
    if (dicom_dictionary[mid].group < group)
      lo = mid + 1;
    else
      hi = mid;
  }
  return NULL;
}

uint16_t dicom_dictionary_vr(uint32_t tag) {
  static const char digits[] = "0123456789ABCDEF";
  uint16_t group = (uint16_t)(tag >> 16), element = (uint16_t)tag;
  if (group & 1) return 0;
  if ((group & 0xFF00) == 0x5000 || (group & 0xFF00) == 0x6000) group &= 0xFF00;
  const struct dicom_dictionary_group *g = group_of(group);
  if (!g) return 0;
  char want[4];
  for (int i = 0; i < 4; i++) want[i] = digits[element >> (12 - 4 * i) & 15];
  for (size_t lo = 0, hi = g->n; lo < hi;) {
    size_t mid = (lo + hi) / 2;
    const char *cell = g->cells + mid * CELL;
    int order = memcmp(cell, want, 4);
    if (order == 0) return DICOM_VR(cell[4], cell[5]);
    if (order < 0)
      lo = mid + 1;
    else
      hi = mid;
  }
  return 0;
}
