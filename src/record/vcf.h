/* VCF and BCF as lines of text, and what a header says. Shared by the reader (genome_read.c) and the wall's cleaner (deid/vcf_clean.c).
 *
 *     struct vcf_source *s;  TRY(vcf_source_open("export/chr22.vcf.gz", &s, e));
 *     struct vcf_header h;   TRY(vcf_header_read(s, &arena, &h, e));
 *     while ((rc = vcf_source_line(s, &line, e)) == OK) ...                        // data lines; E_END at the end
 *     vcf_source_close(s);
 *
 * Plain, gzip and bgzip text is read as it lies, so that numbers keep their spelling; BCF is turned into text by htslib. Files are
 * opened here and handed to htslib as descriptors: it would open URLs. A bgzip file without its end mark is cut: E_CORRUPT.
 * Everything else that is no VCF is E_INPUT. Format: VCF specification 4.1 to 4.4, section 1.
 */
#ifndef RECORD_VCF_H
#define RECORD_VCF_H
#include "base/json.h"

enum { VCF_FIXED = 9, VCF_HEADER_LIMIT = 64 << 20, VCF_LINE_LIMIT = 64 << 20, VCF_SAMPLES = 1 << 20 };
struct vcf_source;
int vcf_source_open(const char *path, struct vcf_source **out, struct error *e) MUST_CHECK;
/* Without its newline; valid until the next call. Only printable bytes and tabs, or E_INPUT. */
int vcf_source_line(struct vcf_source *s, struct str *line, struct error *e) MUST_CHECK;
uint64_t vcf_source_row(const struct vcf_source *s); /* number of the line last returned, 1-based */
uint64_t vcf_source_bytes(const struct vcf_source *s);
void vcf_source_close(struct vcf_source *s);

struct vcf_meta { /* "##key=value" */
  struct str key, value;
  uint64_t row;
};
struct vcf_header {
  struct str version; /* "4.2" */
  struct vcf_meta *meta;
  size_t metas;
  struct str *sample; /* each followed by a NUL */
  uint32_t samples;
  uint32_t columns; /* 8, or 9 + samples */
};
/* Reads through "#CHROM". Strings live in the arena. E_INPUT: no VCF, or sample names empty or twice. */
int vcf_header_read(struct vcf_source *s, struct arena *a, struct vcf_header *h, struct error *e) MUST_CHECK;
/* `<ID=AC,Number=A,Description="a, b">`: the value without its brackets goes in, the next key and value come out (quotes gone, escapes
 * as they lie); false at the end or where it is malformed. */
bool vcf_structured(struct str value, struct str *inside);
bool vcf_member(struct str *inside, struct str *key, struct str *value);
struct str vcf_get(struct str value, const char *key); /* one member of a structured value; STR_NONE */
/* Which assembly the positions are of ("GRCh38"), from ##reference, ##assembly and ##contig; false: not told, unknown, or contradictory.
 * `fields` = policy/vcf-fields.json. */
bool vcf_assembly(struct json fields, const struct vcf_header *h, char out[16]);
/* Splits a data line at tabs: col[0..n) and *rest (n columns at most; rest = what follows the last of them). Returns how many. */
uint32_t vcf_columns(struct str line, struct str *col, uint32_t n, struct str *rest);
#endif
