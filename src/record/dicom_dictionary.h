/* Private to record/: the standard's elements and their value representations; dicom_dictionary_vr (dicom.h) asks it. */
#ifndef RECORD_DICOM_DICTIONARY_H
#define RECORD_DICOM_DICTIONARY_H
#include <stddef.h>
#include <stdint.h>

struct dicom_dictionary_group {
  uint16_t group, n;
  const char *cells; /* n times 4 hexadecimal digits and 2 letters, ascending */
};
extern const struct dicom_dictionary_group dicom_dictionary[]; /* by group, ascending */
extern const size_t dicom_dictionary_n;
#endif
