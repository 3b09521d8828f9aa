/* Character sets of PS3.3 C.12.1.1.2, by the C library's iconv. */
#include <iconv.h>

#include "record/dicom.h"

static const struct {
  const char *term, *name;
} sets[] = {{"ISO_IR 6", ""},
            {"ISO 2022 IR 6", ""},
            {"ISO_IR 100", "ISO-8859-1"},
            {"ISO 2022 IR 100", "ISO-8859-1"},
            {"ISO_IR 101", "ISO-8859-2"},
            {"ISO 2022 IR 101", "ISO-8859-2"},
            {"ISO_IR 109", "ISO-8859-3"},
            {"ISO 2022 IR 109", "ISO-8859-3"},
            {"ISO_IR 110", "ISO-8859-4"},
            {"ISO 2022 IR 110", "ISO-8859-4"},
            {"ISO_IR 144", "ISO-8859-5"},
            {"ISO 2022 IR 144", "ISO-8859-5"},
            {"ISO_IR 127", "ISO-8859-6"},
            {"ISO 2022 IR 127", "ISO-8859-6"},
            {"ISO_IR 126", "ISO-8859-7"},
            {"ISO 2022 IR 126", "ISO-8859-7"},
            {"ISO_IR 138", "ISO-8859-8"},
            {"ISO 2022 IR 138", "ISO-8859-8"},
            {"ISO_IR 148", "ISO-8859-9"},
            {"ISO 2022 IR 148", "ISO-8859-9"},
            {"ISO_IR 203", "ISO-8859-15"},
            {"ISO 2022 IR 203", "ISO-8859-15"},
            {"ISO_IR 13", "SHIFT_JIS"},
            {"ISO 2022 IR 13", "SHIFT_JIS"},
            {"ISO 2022 IR 87", "ISO-2022-JP-2"},
            {"ISO 2022 IR 159", "ISO-2022-JP-2"},
            {"ISO 2022 IR 149", "EUC-KR"},
            {"ISO 2022 IR 58", "GB18030"},
            {"ISO_IR 166", "TIS-620"},
            {"ISO 2022 IR 166", "TIS-620"},
            {"ISO_IR 192", "UTF-8"},
            {"GB18030", "GB18030"},
            {"GBK", "GBK"}};

/* The set of the first value; when it is empty, of the second (the first then is ASCII). NULL: unknown. */
static const char *set_of(struct str charset) {
  struct str rest = charset, first = rest.n ? dicom_part(&rest) : STR_NONE;
  bool extended = rest.n > 0;
  if (first.n == 0 && extended) first = dicom_part(&rest);
  if (first.n == 0) return "";
  for (size_t i = 0; i < sizeof sets / sizeof *sets; i++)
    if (str_eqc(first, sets[i].term)) return sets[i].name;
  return NULL;
}

static int convert(struct arena *a, const char *from, const char *to, struct str in, struct str *out, struct error *e) {
  size_t room = in.n * 4 + 16, left_in = in.n, left_out = room;
  char *to_p = arena_alloc(a, room, 1), *at = to_p;
  char *from_p = (char *)(uintptr_t)in.p;
  if (!to_p) return error_set(e, E_NOMEM, "no memory for a text");
  iconv_t cd = iconv_open(to, from);
  if (cd == (iconv_t)-1) return error_set(e, E_INPUT, "a character set that this machine does not have");
  bool ok = iconv(cd, &from_p, &left_in, &at, &left_out) != (size_t)-1 && iconv(cd, NULL, NULL, &at, &left_out) != (size_t)-1;
  iconv_close(cd);
  if (!ok) return error_set(e, E_INPUT, "a text that is not of its character set");
  *out = (struct str){to_p, (size_t)(at - to_p)};
  return OK;
}

static bool ascii(struct str s) {
  for (size_t i = 0; i < s.n; i++)
    if ((unsigned char)s.p[i] >= 0x80 || s.p[i] == 0x1B) return false;
  return true;
}

int dicom_text_decode(struct arena *a, struct str charset, struct str in, struct str *utf8, struct error *e) {
  *utf8 = in;
  if (ascii(in)) return OK;
  const char *set = set_of(charset);
  if (!set) return error_set(e, E_INPUT, "a character set that DICOM does not have");
  if (memchr(in.p, 0x1B, in.n)) return convert(a, "ISO-2022-JP-2", "UTF-8", in, utf8, e);
  if (!*set) return str_utf8_valid(in) ? OK : convert(a, "ISO-8859-1", "UTF-8", in, utf8, e);
  if (strcmp(set, "UTF-8") == 0) return str_utf8_valid(in) ? OK : error_set(e, E_INPUT, "a text that is not UTF-8");
  return convert(a, set, "UTF-8", in, utf8, e);
}

int dicom_text_encode(struct arena *a, struct str charset, struct str utf8, struct str *out, struct error *e) {
  *out = utf8;
  if (ascii(utf8)) return OK;
  const char *set = set_of(charset);
  if (!set) return error_set(e, E_INPUT, "a character set that DICOM does not have");
  if (!*set || strcmp(set, "UTF-8") == 0) return OK;
  return convert(a, "UTF-8", set, utf8, out, e);
}
