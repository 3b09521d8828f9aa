/* The file `codes`: names in byte order, so that an id is a rank and a name is found by bisection. */
#include "timeline/timeline_store.h"

static bool starts_hold(const uint64_t *start, uint64_t n, uint64_t bytes, uint64_t longest) {
  if (start[0] != 0 || start[n] != bytes) return false;
  for (uint64_t i = 0; i < n; i++)
    if (start[i] > start[i + 1] || start[i + 1] - start[i] > longest) return false;
  return true;
}

static bool ascending(const uint64_t *start, const char *names, uint64_t n) {
  for (uint64_t i = 1; i < n; i++) {
    struct str a = {names + start[i - 1], (size_t)(start[i] - start[i - 1])}, b = {names + start[i], (size_t)(start[i + 1] - start[i])};
    if (str_cmp(a, b) >= 0) return false;
  }
  return true;
}

static int check(const struct dictionary *d, struct error *e) {
  const struct section *s = d->c.section;
  if (d->c.rows[1] < 1 || d->c.rows[1] > 65536 || d->c.rows[2] != 0) return error_set(e, E_CORRUPT, "dictionary counts");
  if (!starts_hold(d->name_start, d->codes, s[D_NAMES].bytes, NAME_MAX_BYTES) ||
      !starts_hold(d->display_start, d->codes, s[D_DISPLAYS].bytes, DISPLAY_MAX_BYTES) ||
      !starts_hold(d->unit_start, d->units, s[D_UNITS].bytes, NAME_MAX_BYTES))
    return error_set(e, E_CORRUPT, "dictionary offsets");
  if (d->unit_start[1] != 0) return error_set(e, E_CORRUPT, "unit 0 is not the empty unit");
  if (!ascending(d->name_start, d->names, d->codes) || !ascending(d->unit_start, d->unit_names, d->units))
    return error_set(e, E_CORRUPT, "dictionary names out of order");
  return OK;
}

int dictionary_open(const char *path, struct dictionary *d, struct error *e) {
  *d = (struct dictionary){0};
  TRY(container_open(path, &container_codes, &d->c, e));
  int rc = container_check(&d->c, e);
  d->codes = (uint32_t)d->c.rows[0];
  d->units = (uint32_t)d->c.rows[1];
  d->name_start = container_at(&d->c, D_NAME_START);
  d->names = container_at(&d->c, D_NAMES);
  d->display_start = container_at(&d->c, D_DISPLAY_START);
  d->displays = container_at(&d->c, D_DISPLAYS);
  d->count = container_at(&d->c, D_COUNT);
  d->unit_start = container_at(&d->c, D_UNIT_START);
  d->unit_names = container_at(&d->c, D_UNITS);
  if (rc == OK) rc = check(d, e);
  if (rc < 0) {
    error_where(e, path, 0, NULL);
    dictionary_close(d);
  }
  return rc;
}

void dictionary_close(struct dictionary *d) {
  container_close(&d->c);
  *d = (struct dictionary){0};
}

static struct str part(const uint64_t *start, const char *names, uint32_t i) {
  return (struct str){names + start[i], (size_t)(start[i + 1] - start[i])};
}

struct str dictionary_name(const struct dictionary *d, uint32_t code) {
  return code < d->codes ? part(d->name_start, d->names, code) : STR_NONE;
}

struct str dictionary_display(const struct dictionary *d, uint32_t code) {
  if (code >= d->codes || d->display_start[code] == d->display_start[code + 1]) return STR_NONE;
  return part(d->display_start, d->displays, code);
}

struct str dictionary_unit(const struct dictionary *d, uint32_t unit) {
  return unit == UNIT_NONE || unit >= d->units ? STR_NONE : part(d->unit_start, d->unit_names, unit);
}

bool dictionary_find(const struct dictionary *d, struct str name, uint32_t *code) {
  uint32_t low = 0, high = d->codes;
  while (low < high) {
    uint32_t mid = low + (high - low) / 2;
    int c = str_cmp(part(d->name_start, d->names, mid), name);
    if (c == 0) {
      *code = mid;
      return true;
    }
    if (c < 0)
      low = mid + 1;
    else
      high = mid;
  }
  return false;
}
