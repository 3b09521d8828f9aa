/* One pass over a VCF for a batch of samples: records cleaned once, each sample's column after them into a file of its own. */
#include "deid/vcf_clean.h"

#include <errno.h>
#include <fcntl.h>
#include <htslib/bgzf.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "deid/vcf_rules.h"

enum { FORMAT_KEYS = 256, COPY = 64 << 10, END_MARK = 28 };

struct body { /* records of one sample, as bgzip blocks with the end mark, in an unlinked file */
  int fd;
  BGZF *out;
};
struct vcf_split {
  const struct vcf_rules *rules;
  char path[4096], scratch[4096];
  struct arena memory;
  struct vcf_header header;
  struct map member, forbidden;
  struct buf head; /* of the clean file up to #CHROM */
  uint64_t head_dropped;
  uint32_t first, n; /* samples of the batch that lies in body[]; n = 0: none yet */
  struct body body[VCF_BATCH];
  struct vcf_counts counts[VCF_BATCH];
  struct buf fixed, column;                   /* of the record at hand: CHROM to FORMAT; one sample */
  const struct vcf_rule *format[FORMAT_KEYS]; /* NULL: this part goes */
  uint32_t keys;
  uint32_t alts;    /* alleles in ALT of the record at hand */
  bool family;      /* few samples, not one: what was counted over them tells of the others */
  char contig[128]; /* last one that passed */
};

/* ---- the header ---- */

static bool word_of(struct str s, const char *letters, size_t most) {
  for (size_t i = 0; i < s.n; i++)
    if (!((s.p[i] >= 'a' && s.p[i] <= 'z') || (s.p[i] >= 'A' && s.p[i] <= 'Z') || (s.p[i] >= '0' && s.p[i] <= '9') ||
          (s.p[i] && strchr(letters, s.p[i]))))
      return false;
  return s.n > 0 && s.n <= most;
}

static bool plain_contig(struct str s) {
  if (str_starts(s, STR("chr"))) s = (struct str){s.p + 3, s.n - 3};
  return (s.n == 1 && strchr("0123456789XYM", s.p[0])) || (s.n == 2 && s.p[0] >= '0' && s.p[0] <= '9' && s.p[1] >= '0' && s.p[1] <= '9');
}

/* A contig named as a chromosome passes even if a sample has that name. */
static bool contig_passes(const struct vcf_split *s, struct str name) {
  return plain_contig(name) || (vcf_shaped(&s->rules->contigs, name) && !vcf_forbidden(&s->forbidden, name));
}

static bool listed(const struct vcf_split *s, const struct vcf_shapes *shapes, struct str text) {
  return str_eqc(text, "PASS") || (vcf_shaped(shapes, text) && !vcf_forbidden(&s->forbidden, text));
}

static bool write_key(struct vcf_split *s, const struct vcf_keys *keys, const struct vcf_meta *m, struct str id) {
  static const char *const types[] = {"Integer", "Float", "Flag", "Character", "String"};
  struct str number = vcf_get(m->value, "Number"), type = vcf_get(m->value, "Type");
  bool typed = false;
  for (int i = 0; i < 5; i++) typed = typed || str_eqc(type, types[i]);
  if (!typed || !word_of(number, ".", 6) || !vcf_rule_of(keys, id) || vcf_forbidden(&s->forbidden, id)) return false;
  buf_printf(&s->head, "##%.*s=<ID=%.*s,Number=%.*s,Type=%.*s,Description=\".\">\n", STR_ARG(m->key), STR_ARG(id), STR_ARG(number),
             STR_ARG(type));
  return true;
}

static bool write_contig(struct vcf_split *s, const struct vcf_meta *m, struct str id, const char *assembly) {
  struct str length = vcf_get(m->value, "length");
  if (!contig_passes(s, id)) return false;
  buf_printf(&s->head, "##contig=<ID=%.*s", STR_ARG(id));
  if (length.n && length.n <= 12 && vcf_number(length, false)) buf_printf(&s->head, ",length=%.*s", STR_ARG(length));
  if (assembly[0]) buf_printf(&s->head, ",assembly=%s", assembly);
  buf_puts(&s->head, ">\n");
  return true;
}

static bool write_meta(struct vcf_split *s, const struct vcf_meta *m, const char *assembly) {
  struct str id = vcf_get(m->value, "ID"), key = m->key;
  if (id.n == 0) return false;
  if (str_eqc(key, "INFO")) return write_key(s, &s->rules->info, m, id);
  if (str_eqc(key, "FORMAT")) return write_key(s, &s->rules->format, m, id);
  if (str_eqc(key, "contig")) return write_contig(s, m, id, assembly);
  if (!(str_eqc(key, "FILTER") && listed(s, &s->rules->filters, id)) && !(str_eqc(key, "ALT") && listed(s, &s->rules->alts, id)))
    return false;
  buf_printf(&s->head, "##%.*s=<ID=%.*s,Description=\".\">\n", STR_ARG(key), STR_ARG(id));
  return true;
}

static int write_head(struct vcf_split *s, struct error *e) {
  char assembly[16];
  if (!vcf_assembly(s->rules->fields, &s->header, assembly)) assembly[0] = 0;
  buf_printf(&s->head, "##fileformat=VCFv%.*s\n", STR_ARG(s->header.version));
  if (assembly[0]) buf_printf(&s->head, "##reference=%s\n", assembly);
  for (size_t i = 0; i < s->header.metas; i++) s->head_dropped += !write_meta(s, &s->header.meta[i], assembly);
  buf_puts(&s->head, "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\t");
  return buf_check(&s->head, e);
}

/* ---- opening ---- */

static int forbid_line(struct vcf_split *s, const struct vcf_meta *m, struct error *e) {
  struct str inside, key, value;
  if (!str_eqc(m->key, "SAMPLE") && !str_eqc(m->key, "PEDIGREE") && !str_eqc(m->key, "META")) return OK;
  if (!vcf_structured(m->value, &inside)) return vcf_forbid(&s->forbidden, m->value, e);
  while (vcf_member(&inside, &key, &value)) TRY(vcf_forbid(&s->forbidden, value, e));
  return OK;
}

static int open_split(struct vcf_split *s, struct error *e) {
  struct vcf_source *in;
  TRY(vcf_source_open(s->path, &in, e));
  int rc = vcf_header_read(in, &s->memory, &s->header, e);
  vcf_source_close(in);
  TRY(rc);
  for (uint32_t i = 0; i < s->header.samples; i++) {
    uint64_t *at = map_put(&s->member, s->header.sample[i], NULL);
    if (!at) return error_set(e, E_NOMEM, "no memory for sample names");
    *at = i;
    TRY(vcf_forbid(&s->forbidden, s->header.sample[i], e));
  }
  s->family = s->header.samples > 1 && s->header.samples < s->rules->cohort_below;
  for (size_t i = 0; i < s->header.metas; i++) TRY(forbid_line(s, &s->header.meta[i], e));
  return write_head(s, e);
}

int vcf_split_open(const struct vcf_rules *rules, const char *path, const char *scratch, struct vcf_split **out, struct error *e) {
  *out = NULL;
  if (strlen(path) >= 4096 || strlen(scratch) >= 4000) return error_set(e, E_LIMIT, "path too long");
  struct vcf_split *s = mem_alloc(sizeof *s);
  if (!s) return error_set(e, E_NOMEM, "no memory for a genome");
  memset(s, 0, sizeof *s);
  s->rules = rules;
  strcpy(s->path, path);
  strcpy(s->scratch, scratch);
  arena_init(&s->memory, 4 * (size_t)VCF_HEADER_LIMIT, ARENA_WIPE);
  map_init(&s->member, 0);
  map_init(&s->forbidden, 0);
  for (int i = 0; i < VCF_BATCH; i++) s->body[i].fd = -1;
  int rc = open_split(s, e);
  if (rc < 0) {
    vcf_split_free(s);
    return rc;
  }
  *out = s;
  return OK;
}

const char *vcf_split_path(const struct vcf_split *s) { return s->path; }

static void close_bodies(struct vcf_split *s) {
  for (int i = 0; i < VCF_BATCH; i++) {
    struct body *b = &s->body[i];
    if (b->out && bgzf_close(b->out) < 0) b->out = NULL; /* only after a failure that is already told */
    if (b->fd >= 0) close(b->fd);
    *b = (struct body){.fd = -1};
  }
  s->n = 0;
}

void vcf_split_free(struct vcf_split *s) {
  if (!s) return;
  close_bodies(s);
  map_release(&s->member);
  map_release(&s->forbidden);
  arena_free(&s->memory);
  buf_release(&s->head);
  buf_release(&s->fixed);
  buf_release(&s->column);
  mem_free(s);
}

/* ---- records ---- */

static bool allele(const struct vcf_split *s, struct str a) {
  if (str_eqc(a, ".") || str_eqc(a, "*") || vcf_bases(a)) return true;
  if (a.n > 2 && a.p[0] == '<' && a.p[a.n - 1] == '>') {
    struct str name = {a.p + 1, a.n - 2};
    return str_eqc(name, "*") || listed(s, &s->rules->alts, name);
  }
  /* breakends: bases, a place between brackets, in either order (specification, 5.4); or bases with a dot on one side */
  size_t left = 0, right = a.n;
  while (left < a.n && a.p[left] != '[' && a.p[left] != ']') left++;
  while (right > left && a.p[right - 1] != '[' && a.p[right - 1] != ']') right--;
  if (left == a.n) {
    struct str rest = a.p[0] == '.' ? (struct str){a.p + 1, a.n - 1} : (struct str){a.p, a.n ? a.n - (a.p[a.n - 1] == '.') : 0};
    return a.n > 1 && vcf_bases(rest);
  }
  if (right - left < 4 || a.p[left] != a.p[right - 1]) return false;
  struct str place = {a.p + left + 1, right - left - 2}, before = {a.p, left}, after = {a.p + right, a.n - right};
  size_t colon = place.n;
  while (colon && place.p[colon - 1] != ':') colon--;
  if (colon < 2 || !vcf_number((struct str){place.p + colon, place.n - colon}, false) ||
      !contig_passes(s, (struct str){place.p, colon - 1}))
    return false;
  return (vcf_bases(before) && after.n == 0) || (before.n == 0 && vcf_bases(after));
}

static bool alleles(struct vcf_split *s, struct str alt) {
  s->alts = 0;
  if (str_eqc(alt, ".")) return true;
  for (; alt.p; s->alts++)
    if (!allele(s, str_cut(&alt, ','))) return false;
  return true;
}

static bool contig_of(struct vcf_split *s, struct str chrom) {
  if (chrom.n && str_eqc(chrom, s->contig)) return true;
  if (chrom.n == 0 || chrom.n >= sizeof s->contig || !contig_passes(s, chrom)) return false;
  memcpy(s->contig, chrom.p, chrom.n);
  s->contig[chrom.n] = 0;
  return true;
}

/* A list of names: those that pass stay, in order; "." if none does. */
static uint64_t put_names(struct vcf_split *s, const struct vcf_shapes *shapes, struct str list) {
  size_t before = s->fixed.n;
  uint64_t dropped = 0;
  if (!str_eqc(list, "."))
    while (list.p) {
      struct str name = str_cut(&list, ';');
      if (!listed(s, shapes, name)) {
        dropped++;
        continue;
      }
      if (s->fixed.n > before) buf_putc(&s->fixed, ';');
      buf_str(&s->fixed, name);
    }
  if (s->fixed.n == before) buf_putc(&s->fixed, '.');
  return dropped;
}

static uint64_t put_info(struct vcf_split *s, struct str info) {
  size_t before = s->fixed.n;
  uint64_t dropped = 0;
  if (!str_eqc(info, "."))
    while (info.p) {
      struct str field = str_cut(&info, ';'), value = field, key = str_cut(&value, '=');
      const struct vcf_rule *rule = vcf_rule_of(&s->rules->info, key);
      uint64_t at;
      if (!rule || (s->family && map_get(&s->rules->cohort, key, &at)) || !vcf_value(rule, value, s->alts, &s->forbidden) ||
          (rule->begins.n && vcf_forbidden(&s->forbidden, key))) {
        dropped++;
        continue;
      }
      if (s->fixed.n > before) buf_putc(&s->fixed, ';');
      buf_str(&s->fixed, field);
    }
  if (s->fixed.n == before) buf_putc(&s->fixed, '.');
  return dropped;
}

/* -1: no genotype is left to tell. */
static int put_format(struct vcf_split *s, struct str format) {
  size_t before = s->fixed.n;
  int dropped = 0;
  s->keys = 0;
  while (format.p) {
    struct str key = str_cut(&format, ':');
    if (s->keys == FORMAT_KEYS) return -1;
    const struct vcf_rule *rule = s->format[s->keys++] = vcf_rule_of(&s->rules->format, key);
    dropped += !rule;
    if (!rule) continue;
    if (s->fixed.n > before) buf_putc(&s->fixed, ':');
    buf_str(&s->fixed, key);
  }
  return s->fixed.n == before ? -1 : dropped;
}

/* CHROM to FORMAT into s->fixed. False: this record goes. */
static bool put_fixed(struct vcf_split *s, const struct str col[VCF_FIXED], struct vcf_counts *c) {
  if (!contig_of(s, col[0]) || str_eqc(col[1], ".") || !vcf_number(col[1], false) || !vcf_bases(col[3]) || !alleles(s, col[4]) ||
      !vcf_number(col[5], true))
    return false;
  buf_clear(&s->fixed);
  buf_str(&s->fixed, col[0]);
  buf_putc(&s->fixed, '\t');
  buf_str(&s->fixed, col[1]);
  buf_putc(&s->fixed, '\t');
  c->ids_dropped = put_names(s, &s->rules->ids, col[2]);
  for (int i = 3; i < 6; i++) {
    buf_putc(&s->fixed, '\t');
    buf_str(&s->fixed, col[i]);
  }
  buf_putc(&s->fixed, '\t');
  c->fields_dropped = put_names(s, &s->rules->filters, col[6]);
  buf_putc(&s->fixed, '\t');
  c->fields_dropped += put_info(s, col[7]);
  buf_putc(&s->fixed, '\t');
  int dropped = put_format(s, col[8]);
  c->fields_dropped += dropped > 0 ? (uint64_t)dropped : 0;
  return dropped >= 0;
}

/* One sample's column into s->column, behind a tab. */
static uint64_t put_sample(struct vcf_split *s, struct str sample) {
  uint64_t dropped = 0;
  bool first = true;
  buf_clear(&s->column);
  buf_putc(&s->column, '\t');
  for (uint32_t k = 0; k < s->keys && sample.p; k++) {
    struct str value = str_cut(&sample, ':');
    const struct vcf_rule *rule = s->format[k];
    if (!rule) continue;
    if (!first) buf_putc(&s->column, ':');
    first = false;
    if (str_eqc(value, ".") || vcf_value(rule, value, s->alts, &s->forbidden)) {
      buf_str(&s->column, value);
    } else {
      buf_putc(&s->column, '.');
      dropped++;
    }
  }
  if (first) buf_putc(&s->column, '.');
  buf_putc(&s->column, '\n');
  return dropped + (sample.p != NULL);
}

static int bad_line(const struct vcf_split *s, const struct vcf_source *in, struct error *e) {
  error_set(e, E_INPUT, "a line has not the columns of the header");
  error_where(e, s->path, (int64_t)vcf_source_row(in), NULL);
  return E_INPUT;
}

static int write_failed(struct error *e) { return error_set(e, E_IO, "a genome cannot be written"); }

static int take_line(struct vcf_split *s, const struct vcf_source *in, struct str line, uint32_t n, struct error *e) {
  struct str col[VCF_FIXED], rest;
  struct vcf_counts c = {0};
  if (vcf_columns(line, col, VCF_FIXED, &rest) != VCF_FIXED || !rest.p) return bad_line(s, in, e);
  bool kept = put_fixed(s, col, &c);
  TRY(buf_check(&s->fixed, e));
  for (uint32_t i = 0; i < s->first + n; i++) {
    if (!rest.p) return bad_line(s, in, e);
    struct str sample = str_cut(&rest, '\t');
    if (i < s->first) continue;
    struct vcf_counts *to = &s->counts[i - s->first];
    to->records += kept;
    to->records_dropped += !kept;
    if (!kept) continue;
    to->ids_dropped += c.ids_dropped;
    to->fields_dropped += c.fields_dropped + put_sample(s, sample);
    TRY(buf_check(&s->column, e));
    BGZF *out = s->body[i - s->first].out;
    if (bgzf_write(out, s->fixed.p, s->fixed.n) < 0 || bgzf_write(out, s->column.p, s->column.n) < 0) return write_failed(e);
  }
  return OK;
}

/* An unlinked file: whatever happens, nothing of it stays. */
static int scratch_file(const struct vcf_split *s, struct error *e, int *fd) {
  char path[4096];
  snprintf(path, sizeof path, "%s/genome-XXXXXX", s->scratch);
  *fd = mkostemp(path, O_CLOEXEC);
  if (*fd < 0) return write_failed(e);
  unlink(path);
  return OK;
}

static int open_body(struct vcf_split *s, struct body *b, struct error *e) {
  TRY(scratch_file(s, e, &b->fd));
  int copy = fcntl(b->fd, F_DUPFD_CLOEXEC, 0); /* bgzf_close closes its own */
  b->out = copy < 0 ? NULL : bgzf_dopen(copy, "w");
  if (b->out) return OK;
  if (copy >= 0) close(copy);
  return write_failed(e);
}

static int run_batch(struct vcf_split *s, uint32_t n, struct error *e) {
  struct vcf_source *in;
  struct vcf_header again;
  struct arena a;
  struct str line;
  for (uint32_t i = 0; i < n; i++) TRY(open_body(s, &s->body[i], e));
  TRY(vcf_source_open(s->path, &in, e));
  arena_init(&a, 4 * (size_t)VCF_HEADER_LIMIT, ARENA_WIPE);
  int rc = vcf_header_read(in, &a, &again, e);
  if (rc == OK && again.samples != s->header.samples) rc = error_set(e, E_INPUT, "the file changed while it was read");
  if (rc == OK)
    while ((rc = vcf_source_line(in, &line, e)) == OK && (rc = take_line(s, in, line, n, e)) == OK) {}
  arena_free(&a);
  vcf_source_close(in);
  for (uint32_t i = 0; i < n && rc == E_END; i++) {
    int closed = bgzf_close(s->body[i].out);
    s->body[i].out = NULL;
    if (closed < 0) rc = write_failed(e);
  }
  return rc == E_END ? OK : rc;
}

static int want_batch(struct vcf_split *s, uint32_t sample, struct error *e) {
  if (s->n && sample >= s->first && sample < s->first + s->n) return OK;
  close_bodies(s);
  memset(s->counts, 0, sizeof s->counts);
  uint32_t left = s->header.samples - sample, n = left < VCF_BATCH ? left : VCF_BATCH;
  s->first = sample;
  int rc = run_batch(s, n, e);
  if (rc < 0)
    close_bodies(s);
  else
    s->n = n;
  return rc;
}

/* ---- one genome ---- */

static int copy_all(int from, int to, struct error *e) {
  char *chunk = mem_alloc(COPY);
  ssize_t n = chunk ? 1 : -1;
  for (off_t at = 0; n > 0; at += n) {
    n = pread(from, chunk, COPY, at);
    for (ssize_t done = 0; n > 0 && done < n;) {
      ssize_t k = write(to, chunk + done, (size_t)(n - done));
      if (k < 0 && errno != EINTR) n = -1;
      if (k > 0) done += k;
    }
  }
  mem_free(chunk);
  return n < 0 ? write_failed(e) : OK;
}

/* The header's blocks without the end mark that closing puts behind them. */
static int write_header(struct vcf_split *s, const char *name, int to, struct error *e) {
  int copy = fcntl(to, F_DUPFD_CLOEXEC, 0);
  BGZF *out = copy < 0 ? NULL : bgzf_dopen(copy, "w");
  if (!out && copy >= 0) close(copy);
  if (!out) return write_failed(e);
  bool ok = bgzf_write(out, s->head.p, s->head.n) >= 0 && bgzf_write(out, name, strlen(name)) >= 0 && bgzf_write(out, "\n", 1) >= 0;
  if (bgzf_close(out) < 0 || !ok) return write_failed(e);
  off_t size = lseek(to, 0, SEEK_END);
  if (size < END_MARK || ftruncate(to, size - END_MARK) < 0 || lseek(to, 0, SEEK_END) != size - END_MARK) return write_failed(e);
  return OK;
}

int vcf_split_write(struct vcf_split *s, const char *member, const char *name, const char *to, struct vcf_counts *counts, struct error *e) {
  uint64_t sample;
  if (!map_get(&s->member, str_c(member), &sample)) return error_set(e, E_NOTFOUND, "no such sample in the file");
  TRY(want_batch(s, (uint32_t)sample, e));
  int fd = open(to, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) return write_failed(e);
  int rc = write_header(s, name, fd, e);
  if (rc == OK) rc = copy_all(s->body[sample - s->first].fd, fd, e);
  if (close(fd) < 0 && rc == OK) rc = write_failed(e);
  if (rc < 0) {
    unlink(to);
    return rc;
  }
  const struct vcf_counts *c = &s->counts[sample - s->first];
  counts->genomes++;
  counts->records += c->records;
  counts->records_dropped += c->records_dropped;
  counts->fields_dropped += c->fields_dropped;
  counts->ids_dropped += c->ids_dropped;
  counts->header_dropped += s->head_dropped;
  return OK;
}
