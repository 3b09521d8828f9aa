/* A record's image through the cleaner: whose it is, what the vault knows of the person, and the cleaned file. */
#include <stdio.h>

#include "base/file.h"
#include "base/json.h"
#include "deid/deid_object.h"
#include "deid/dicom_pixels.h"
#include "deid/text.h"
#include "record/dicom.h"

#define MEMORY ((size_t)6 << 30)
enum { KNOWN = 512 };

struct dicom_wall {
  struct dicom_profile *profile;
  struct dicom_eye *eye;
  struct text_scrubber *scrubber;
  struct text_work *work;
  struct dicom_counts counts;
  uint8_t uid_key[32];
  struct text_known known[KNOWN]; /* of the person of the last image, in the vault's memory */
  uint32_t known_n;
};

static int texts(struct deid *w, struct dicom_wall *d, struct error *e) {
  char path[4096];
  if (d->profile->vocabulary) return OK;
  if (w->policy.text_path[0])
    memcpy(path, w->policy.text_path, sizeof path);
  else
    TRY(file_join(path, sizeof path, file_data_dir(), "policy/text.json", e));
  TRY(text_scrubber_open(path, &d->scrubber, e));
  return text_work_new(d->scrubber, &d->work, e);
}

static int open_wall(struct deid *w, struct error *e) {
  if (w->dicom) return OK;
  struct dicom_wall *d = mem_alloc(sizeof *d);
  if (!d) return error_set(e, E_NOMEM, "no memory to clean images");
  memset(d, 0, sizeof *d);
  w->dicom = d;
  int rc = dicom_profile_load(w->policy.dicom_path, &d->profile, e);
  if (rc == OK) rc = vault_secret(w->vault, 0, "dicom-uid", d->uid_key, e);
  if (rc == OK) rc = texts(w, d, e);
  if (rc == OK && dicom_profile_option(d->profile, DICOM_CLEAN_PIXELS)) rc = dicom_eye_open(&d->eye, e);
  if (rc < 0) dicom_object_close(w);
  return rc;
}

void dicom_object_close(struct deid *w) {
  struct dicom_wall *d = w->dicom;
  if (!d) return;
  dicom_eye_close(d->eye);
  text_work_free(d->work);
  text_scrubber_close(d->scrubber);
  dicom_profile_free(d->profile);
  mem_wipe(d, sizeof *d);
  mem_free(d);
  w->dicom = NULL;
}

void dicom_object_manifest(const struct deid *w, struct json_out *o) {
  if (!w->dicom) return;
  const struct dicom_counts *n = &w->dicom->counts;
  const struct {
    const char *key;
    uint64_t n;
  } rows[] = {{"images_cleaned", n->files},
              {"image_uids_replaced", n->uids},
              {"image_dates_changed", n->dates_changed},
              {"image_dates_masked", n->dates_masked},
              {"image_texts_cleaned", n->texts_cleaned},
              {"image_private_elements_removed", n->private_removed},
              {"image_private_elements_kept", n->private_kept},
              {"image_unknown_elements_removed", n->unknown_removed},
              {"image_overlays_removed", n->overlays_removed},
              {"images_read_for_text", n->images_read},
              {"images_with_text_blanked", n->images_blanked},
              {"image_device_numbers_replaced", n->device_numbers},
              {"image_head_volumes_passed", n->faces_flagged},
              {"image_head_volumes_refused", n->faces_refused}};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) json_kv_i64(o, rows[i].key, (int64_t)rows[i].n);
  json_out_key(o, "image_elements_removed");
  json_out_object(o);
  for (int k = 0; k < IDENTIFIER_KINDS; k++)
    if (n->removed[k]) json_kv_i64(o, deid_identifier_name(k), (int64_t)n->removed[k]);
  json_out_end(o);
}

static int take_known(void *ctx, const struct vault_identifier *id, struct error *e UNUSED) {
  struct dicom_wall *d = ctx;
  if (d->known_n < KNOWN) d->known[d->known_n++] = (struct text_known){id->kind, id->value};
  return OK;
}

static int person(struct deid *w, struct dicom_person *who, struct error *e) {
  struct dicom_wall *d = w->dicom;
  d->known_n = 0;
  TRY(vault_identifiers(w->vault, w->current->pseudonym, take_known, d, e));
  if (w->policy.dates == DEID_DATES_SHIFT) TRY(vault_shift(w->vault, w->current, w->policy.shift_days_max, e));
  *who = (struct dicom_person){.dates = w->policy.dates,
                               .shift_days = w->current->shift_days,
                               .age_cap = w->policy.age_cap,
                               .known = d->known,
                               .known_n = d->known_n,
                               .text = d->work};
  snprintf(who->pseudonym, sizeof who->pseudonym, "%lld", (long long)w->current->pseudonym);
  memcpy(who->uid_key, d->uid_key, sizeof who->uid_key);
  return OK;
}

static int clean(struct dicom_wall *d, struct dicom_file *f, const struct dicom_person *who, struct buf *out, struct error *e) {
  bool cleaned = false;
  if (d->profile->faces != DICOM_FACES_KEEP && dicom_face_likely(d->profile, f)) {
    if (d->profile->faces == DICOM_FACES_REFUSE)
      return d->counts.faces_refused++, error_set(e, E_DENIED, "a volume of a head: a face could be rebuilt from it");
    d->counts.faces_flagged++;
  }
  if (d->eye) TRY(dicom_pixels_clean(d->profile, f, d->eye, &d->counts, &cleaned, e)); /* while the header still names the device */
  TRY(dicom_clean(d->profile, f, who, &d->counts, e));
  TRY(dicom_mark(d->profile, f, who, cleaned, e));
  return dicom_write(f, out, e);
}

static int write_file(const char *to, const struct buf *b, struct error *e) {
  FILE *f = fopen(to, "wbx");
  bool good = f && fwrite(b->p, 1, b->n, f) == b->n;
  if (f && fclose(f) != 0) good = false;
  return good ? OK : error_set(e, E_IO, "a cleaned image cannot be written");
}

/* What is wrong with one file is E_INPUT; the run goes on without it. */
int dicom_object(struct deid *w, const struct record *r, const char *to, struct error *e) {
  struct dicom_person who;
  struct dicom_file file;
  struct buf out = {0};
  struct arena a;
  if (!w->policy.dicom_path[0]) return error_set(e, E_DENIED, "the policy lets no image out");
  if (!r->object->bytes) return error_set(e, E_INPUT, "an image without bytes");
  TRY(open_wall(w, e));
  TRY(person(w, &who, e));
  arena_init(&a, MEMORY, ARENA_WIPE);
  int rc = dicom_parse(&a, r->object->bytes, r->object->n, NULL, &file, e);
  if (rc == OK) rc = clean(w->dicom, &file, &who, &out, e);
  if (rc == OK) rc = write_file(to, &out, e);
  mem_wipe(&who, sizeof who);
  buf_release(&out);
  arena_free(&a);
  return rc == E_LIMIT ? E_INPUT : rc;
}
