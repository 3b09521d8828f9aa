/* A record's genome through the cleaner: which policy lets it out, under what name. */
#include <stdio.h>

#include "base/file.h"
#include "deid/deid_object.h"

static int load_rules(struct deid *w, struct error *e) {
  char path[4096];
  if (w->vcf_rules) return OK;
  if (w->policy.genome_fields[0]) return vcf_rules_load(w->policy.genome_fields, &w->vcf_rules, e);
  TRY(file_join(path, sizeof path, file_data_dir(), "policy/vcf-fields.json", e));
  return vcf_rules_load(path, &w->vcf_rules, e);
}

int vcf_object(struct deid *w, const struct record *r, const char *to, struct error *e) {
  const struct record_object *o = r->object;
  char name[24];
  if (!w->policy.keep_genomes) return error_set(e, E_DENIED, "the policy lets no genome out");
  if (!o->path || !o->member) return error_set(e, E_INPUT, "a genome without a file");
  TRY(load_rules(w, e));
  if (w->genomes && strcmp(vcf_split_path(w->genomes), o->path) != 0) {
    vcf_split_free(w->genomes);
    w->genomes = NULL;
  }
  if (!w->genomes) {
    int rc = vcf_split_open(w->vcf_rules, o->path, w->out.blob_dir, &w->genomes, e);
    if (rc < 0) return rc == E_CORRUPT || rc == E_LIMIT ? E_INPUT : rc;
  }
  snprintf(name, sizeof name, "%lld", (long long)w->current->pseudonym);
  int rc = vcf_split_write(w->genomes, o->member, name, to, &w->genome, e);
  return rc == E_CORRUPT || rc == E_LIMIT || rc == E_NOTFOUND ? E_INPUT : rc;
}

void vcf_object_close(struct deid *w) {
  vcf_split_free(w->genomes);
  vcf_rules_free(w->vcf_rules);
  w->genomes = NULL;
  w->vcf_rules = NULL;
}
