/* From an identified object to a blob. */
#include "deid/deid_object.h"

#include <stdio.h>
#include <unistd.h>

#include "deid/vcf_clean.h"

static int clean(struct deid *w, const struct record *r, const char *to, struct error *e) {
  switch (r->object->kind) {
    case OBJECT_GENOME: return vcf_object(w, r, to, e);
    case OBJECT_DICOM: return dicom_object(w, r, to, e);
  }
  return error_set(e, E_INPUT, "no cleaner for this kind of object");
}

int object_take(struct deid *w, const struct record *r, char hex[65], enum drop *why, struct error *e) {
  char to[4096];
  struct error inner = {0};
  *why = DROP_OBJECT;
  if (!w->out.blob || !w->out.blob_dir) return OK;
  int n = snprintf(to, sizeof to, "%s/object-%llu", w->out.blob_dir, (unsigned long long)w->object_n++);
  if (n < 0 || (size_t)n >= sizeof to) return error_set(e, E_LIMIT, "path too long");
  int rc = clean(w, r, to, &inner);
  if (rc == OK) rc = w->out.blob(w->out.ctx, to, hex, &inner);
  if (rc == OK) {
    *why = DROPS;
    w->objects++;
    return OK;
  }
  unlink(to);
  if (rc == E_DENIED) *why = DROP_OBJECT_POLICY;
  if (rc == E_INPUT) *why = DROP_OBJECT_DAMAGED;
  if (rc == E_DENIED || rc == E_INPUT) return OK;
  if (e) *e = inner;
  return rc;
}

void object_close(struct deid *w) {
  vcf_object_close(w);
  dicom_object_close(w);
}
