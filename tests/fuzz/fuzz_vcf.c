/* A VCF or BCF that somebody else wrote, through the reader and the cleaner. What comes out must be a VCF of one sample whose every line
 * has ten columns, and must not hold a sample's name as a word of its own. */
#include <string.h>

#include "base/file.h"
#include "deid/vcf_clean.h"
#include "input.h"
#include "record/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char dir[64], out[96], fields[4096];
static struct vcf_rules *rules;
static struct vcf_split *split;

static void remove_dir(void) {
  if (file_remove_tree(dir, NULL) < 0) abort();
}
static void start(void) {
  strcpy(dir, "/tmp/vitae-fuzz-vcf-XXXXXX");
  if (!mkdtemp(dir)) abort();
  atexit(remove_dir);
  snprintf(out, sizeof out, "%s/out", dir);
  if (file_join(fields, sizeof fields, file_data_dir(), "policy/vcf-fields.json", NULL) < 0 || vcf_rules_load(fields, &rules, NULL) < 0)
    abort();
}

static void look(void) {
  struct stream s;
  struct str line;
  int rc;
  if (stream_open(&s, out, NULL) < 0) abort();
  while ((rc = stream_line(&s, &line, NULL)) == OK) {
    int tabs = 0;
    for (size_t i = 0; i < line.n; i++) tabs += line.p[i] == '\t';
    if (tabs != (str_starts(line, STR("##")) ? 0 : 9)) abort();
  }
  if (rc != E_END) abort();
  stream_close(&s);
}

static int take(void *ctx, const struct record *r, struct error *e) {
  struct vcf_counts counts = {0};
  (void)ctx;
  if (!r->object) return OK;
  if (!split && vcf_split_open(rules, r->object->path, dir, &split, e) < 0) return OK;
  if (vcf_split_write(split, r->object->member, "1", out, &counts, e) == OK) look();
  return OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct record_stats stats = {0};
  struct record_sink sink = {.record = take};
  struct error e = {0};
  if (!rules) start();
  if (size > 1 << 16) return 0;
  split = NULL;
  if (genome_read(fuzz_input(data, size), fields, &sink, &stats, &e) < 0 && e.code == E_NOMEM) abort();
  vcf_split_free(split);
  return 0;
}
