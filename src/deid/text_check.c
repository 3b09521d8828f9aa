/* Check digits, calendars and ranges of the values that the rules find; labels and months by name. */
#include "deid/text_check.h"

#include "deid/text_internal.h"
#include "record/record.h"

static const struct {
  const char *name;
  int kind;
} labels[TEXT_LABELS] = {{"NAME", IDENTIFIER_NAME},
                         {"LOCATION", IDENTIFIER_GEOGRAPHY},
                         {"ORGANISATION", IDENTIFIER_NAME},
                         {"DATE", IDENTIFIER_DATE},
                         {"AGE", IDENTIFIER_DATE},
                         {"PHONE", IDENTIFIER_PHONE},
                         {"FAX", IDENTIFIER_FAX},
                         {"EMAIL", IDENTIFIER_EMAIL},
                         {"SSN", IDENTIFIER_SSN},
                         {"MRN", IDENTIFIER_MRN},
                         {"HEALTH_PLAN", IDENTIFIER_HEALTH_PLAN},
                         {"ACCOUNT", IDENTIFIER_ACCOUNT},
                         {"LICENCE", IDENTIFIER_LICENCE},
                         {"VEHICLE", IDENTIFIER_VEHICLE},
                         {"DEVICE", IDENTIFIER_DEVICE},
                         {"URL", IDENTIFIER_URL},
                         {"IP", IDENTIFIER_IP},
                         {"ID", IDENTIFIER_OTHER},
                         {"PROFESSION", IDENTIFIER_OTHER},
                         {"OTHER", IDENTIFIER_OTHER}};

const char *text_label_name(int label) { return label >= 0 && label < TEXT_LABELS ? labels[label].name : "OTHER"; }
int text_label_kind(int label) { return label >= 0 && label < TEXT_LABELS ? labels[label].kind : IDENTIFIER_OTHER; }
int text_label_named(struct str name) {
  for (int i = 0; i < TEXT_LABELS; i++)
    if (str_eqc(name, labels[i].name)) return i;
  return -1;
}

/* ---- months ---- */

static const char *const months[12] = {
    "january jan janaury januray enero januar jaenner janner ene",
    "february feb febuary feburary febrero februar",
    "march mar marzo marz maerz mrz mrch",
    "april apr abril abr arpil",
    "may mayo mai",
    "june jun junio juni",
    "july jul julio juli",
    "august aug agosto ago agust augst",
    "september sep sept septiembre setiembre septemer septmber setember",
    "october oct octubre oktober okt ocotber octobre",
    "november nov noviembre novemeber novmber",
    "december dec diciembre dezember dic dez decemeber decmber",
};

int text_month(struct str word) {
  char folded[32];
  if (word.n > 16) return 0;
  struct str f = {folded, text_fold(word, folded, sizeof folded)};
  for (int m = 0; m < 12 && f.n >= 3; m++)
    for (const char *p = months[m]; *p;) {
      size_t n = strcspn(p, " ");
      if (n == f.n && memcmp(p, f.p, n) == 0) return m + 1;
      p += n + (p[n] == ' ');
    }
  return 0;
}

/* ---- digits ---- */

static bool digit(char c) { return c >= '0' && c <= '9'; }
static bool letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

/* The digits of the value, at most `most`; -1 if there are more. */
static int digits_of(const struct text_check_place *p, char *out, int most) {
  int n = 0;
  for (uint32_t i = p->start; i < p->end; i++)
    if (digit(p->text.p[i])) {
      if (n == most) return -1;
      out[n++] = p->text.p[i];
    }
  return n;
}

/* Up to `most` runs of digits as numbers; -1 when there are more or one is longer than 8. */
static int numbers_of(const struct text_check_place *p, int *out, int *width, int most) {
  int n = 0;
  for (uint32_t i = p->start; i < p->end;) {
    if (!digit(p->text.p[i])) {
      i++;
      continue;
    }
    int v = 0, w = 0;
    for (; i < p->end && digit(p->text.p[i]); i++, w++) v = w < 8 ? v * 10 + p->text.p[i] - '0' : v;
    if (n == most || w > 8) return -1;
    out[n] = v;
    width[n++] = w;
  }
  return n;
}

bool text_check_luhn(const char *d, size_t n) {
  unsigned sum = 0;
  for (size_t i = 0; i < n; i++) {
    unsigned v = (unsigned)(d[n - 1 - i] - '0');
    if (i & 1) v = v * 2 > 9 ? v * 2 - 9 : v * 2;
    sum += v;
  }
  return n > 1 && sum % 10 == 0;
}

static bool check_luhn(const struct text_check_place *p) {
  char d[24];
  int n = digits_of(p, d, 24);
  return n >= 12 && text_check_luhn(d, (size_t)n);
}

static bool check_npi(const struct text_check_place *p) {
  char d[16] = "80840";
  return digits_of(p, d + 5, 10) == 10 && text_check_luhn(d, 15);
}

static bool check_iban(const struct text_check_place *p) {
  unsigned rest = 0, n = 0;
  char s[40];
  for (uint32_t i = p->start; i < p->end; i++)
    if (p->text.p[i] != ' ') {
      if (n == sizeof s) return false;
      s[n++] = p->text.p[i];
    }
  for (unsigned i = 0; i < n; i++) {
    char c = s[(i + 4) % n];
    if (digit(c))
      rest = (rest * 10 + (unsigned)(c - '0')) % 97;
    else if (letter(c))
      rest = (rest * 100 + (unsigned)((c & 0xDF) - 'A' + 10)) % 97;
    else
      return false;
  }
  return n >= 15 && rest == 1;
}

/* Never issued: area 000, 666 and 9xx, group 00, serial 0000. Such a number is an identifier all the same, but of another kind. */
static bool ssn_issued(const char *d) {
  int area = (d[0] - '0') * 100 + (d[1] - '0') * 10 + (d[2] - '0');
  return area != 0 && area != 666 && area < 900 && (d[3] != '0' || d[4] != '0') && memcmp(d + 5, "0000", 4) != 0;
}

static bool check_ssn(const struct text_check_place *p) {
  char d[16];
  return digits_of(p, d, 9) == 9 && ssn_issued(d);
}

static bool check_ip(const struct text_check_place *p) {
  int v[4], w[4];
  if (numbers_of(p, v, w, 4) != 4) return false;
  for (int i = 0; i < 4; i++)
    if (v[i] > 255 || w[i] > 3) return false;
  return true;
}

static bool check_phone(const struct text_check_place *p) {
  char d[20];
  int n = digits_of(p, d, 18);
  return n >= 7;
}

static int vin_value(char c) {
  static const char of[] = "0123456789.ABCDEFGH..JKLMN.P.R..STUVWXYZ";
  const char *at = strchr(of, c);
  return at && c != '.' ? (int)(at - of) % 10 : -1;
}

static bool check_vin(const struct text_check_place *p) {
  static const int weight[17] = {8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2};
  int sum = 0;
  if (p->end - p->start != 17) return false;
  for (int i = 0; i < 17; i++) {
    int v = vin_value(p->text.p[p->start + (uint32_t)i]);
    if (v < 0) return false;
    sum += v * weight[i];
  }
  return p->text.p[p->start + 8] == "0123456789X"[sum % 11];
}

/* ---- dates ---- */

static bool year_plausible(int y, int width) { return width == 2 || (width == 4 && y >= 1850 && y <= 2150); }
static bool day_month(int a, int b) { return a >= 1 && b >= 1 && ((a <= 12 && b <= 31) || (b <= 12 && a <= 31)); }

static bool check_date(const struct text_check_place *p) {
  int v[3], w[3];
  if (numbers_of(p, v, w, 3) != 3) return false;
  if (w[0] == 4) return year_plausible(v[0], 4) && w[1] <= 2 && w[2] <= 2 && day_month(v[1], v[2]);
  return w[0] <= 2 && w[1] <= 2 && year_plausible(v[2], w[2]) && day_month(v[0], v[1]);
}

static bool check_date8(const struct text_check_place *p) {
  int v[1], w[1];
  if (numbers_of(p, v, w, 1) != 1 || w[0] != 8) return false;
  int y = v[0] / 10000, m = v[0] / 100 % 100, d = v[0] % 100;
  return y >= 1850 && y <= 2100 && m >= 1 && m <= 12 && d >= 1 && d <= 31;
}

static bool check_day_month(const struct text_check_place *p) {
  int v[2], w[2];
  return numbers_of(p, v, w, 2) == 2 && w[0] <= 2 && w[1] <= 2 && day_month(v[0], v[1]);
}

static bool check_month_year(const struct text_check_place *p) {
  int v[2], w[2];
  return numbers_of(p, v, w, 2) == 2 && w[0] <= 2 && v[0] >= 1 && v[0] <= 12 && w[1] == 4 && year_plausible(v[1], 4);
}

/* "may" and "march" are words, "mar", "sep", "dec" bits of words: as months they have a capital, or a year behind. */
static bool check_month(const struct text_check_place *p) {
  bool named = false, capital = false, year = false;
  for (uint32_t i = p->start; i < p->end;) {
    uint32_t j = i;
    while (j < p->end && (letter(p->text.p[j]) || (uint8_t)p->text.p[j] >= 0x80)) j++;
    if (j > i && text_month((struct str){p->text.p + i, j - i})) {
      named = true;
      capital = p->text.p[i] >= 'A' && p->text.p[i] <= 'Z';
    }
    uint32_t k = i;
    while (k < p->end && digit(p->text.p[k])) k++;
    year = year || k - i == 4;
    i = j > i ? j : k > i ? k : i + 1;
  }
  return named && (capital || year);
}

static bool check_capital(const struct text_check_place *p) { return p->text.p[p->start] >= 'A' && p->text.p[p->start] <= 'Z'; }

/* An identifier has a digit. */
static bool check_code(const struct text_check_place *p) {
  for (uint32_t i = p->start; i < p->end; i++)
    if (digit(p->text.p[i])) return true;
  return false;
}

/* 7 digits and more in groups, and no telephone's, range's or date's shape is asked: such a number identifies. */
static bool check_id_digits(const struct text_check_place *p) {
  char d[64];
  int n = digits_of(p, d, 64);
  return n < 0 || n >= 7 || (n >= 4 && p->text.p[p->start] == '#');
}

/* Behind a word like "MRN" or "policy": 4 digits and more, or 3 beside letters; not a year. */
static bool check_code_long(const struct text_check_place *p) {
  int digits = 0, others = 0;
  for (uint32_t i = p->start; i < p->end; i++) {
    digits += digit(p->text.p[i]);
    others += letter(p->text.p[i]) || p->text.p[i] == '#';
  }
  char c = p->text.p[p->start], d = p->end - p->start > 1 ? p->text.p[p->start + 1] : 0;
  bool year = p->end - p->start == 4 && digits == 4 && ((c == '1' && (d == '8' || d == '9')) || (c == '2' && d == '0'));
  char after = p->end < p->text.n ? p->text.p[p->end] : 0;
  return !year && after != '%' && (digits >= 4 || (digits >= 3 && others >= 1));
}

/* Registered trials, articles and the like are nobody's. */
static bool check_study_code(const struct text_check_place *p) {
  static const char *const known[] = {"NCT", "PMID", "PMC", "ISRCTN", "COVID", "CPT", "ICD", "LOINC", "SNOMED", "RS", "GSE", "CHEMBL"};
  for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
    size_t n = strlen(known[i]);
    if (p->end - p->start > n && memcmp(p->text.p + p->start, known[i], n) == 0 && !letter(p->text.p[p->start + n])) return false;
  }
  return true;
}

static const struct {
  const char *name;
  text_check_fn f;
} checks[] = {{"luhn", check_luhn},
              {"npi", check_npi},
              {"iban", check_iban},
              {"ssn", check_ssn},
              {"ip", check_ip},
              {"phone", check_phone},
              {"vin", check_vin},
              {"date", check_date},
              {"date8", check_date8},
              {"month", check_month},
              {"day-month", check_day_month},
              {"month-year", check_month_year},
              {"code", check_code},
              {"capital", check_capital},
              {"id-digits", check_id_digits},
              {"code-long", check_code_long},
              {"study-code", check_study_code}};

text_check_fn text_check_named(struct str name) {
  for (size_t i = 0; i < sizeof checks / sizeof *checks; i++)
    if (str_eqc(name, checks[i].name)) return checks[i].f;
  return NULL;
}
