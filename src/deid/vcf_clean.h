/* Private to deid/: a VCF of many people becomes one clean bgzip VCF a person.
 *
 *     struct vcf_rules *rules;  TRY(vcf_rules_load("policy/vcf-fields.json", &rules, e));
 *     struct vcf_split *s;      TRY(vcf_split_open(rules, "in.vcf.gz", "scratch/", &s, e));
 *     TRY(vcf_split_write(s, "NA12878", "4711", "out.vcf.gz", &counts, e));      // once for each person, in any order
 *     vcf_split_free(s);  vcf_rules_free(rules);
 *
 * Deny by default: header lines, INFO and FORMAT keys, contigs, variant names, filters and symbolic alleles pass if the table lists them
 * and if they hold no word of a sample's name or of ##SAMPLE, ##PEDIGREE, ##META. Header lines are written anew from their ID, Number,
 * Type and length: descriptions, dates, paths, command lines, programs are gone. What passes keeps its bytes. A record on a contig that
 * is not listed, or whose alleles are none, goes; other fields go alone ("." stands in). The same input gives the same bytes (with the
 * same htslib). The file is read once for every VCF_BATCH samples.
 */
#ifndef DEID_VCF_CLEAN_H
#define DEID_VCF_CLEAN_H
#include "base/str.h"

enum { VCF_BATCH = 64 };
struct vcf_rules;
struct vcf_split;
struct vcf_counts { /* summed over genomes written */
  uint64_t genomes, records, records_dropped, header_dropped, fields_dropped, ids_dropped;
};
int vcf_rules_load(const char *path, struct vcf_rules **out, struct error *e) MUST_CHECK;
void vcf_rules_free(struct vcf_rules *r);
/* `rules` must outlive it. `scratch`: directory for unlinked temporary files. E_INPUT, E_CORRUPT: no VCF. */
int vcf_split_open(const struct vcf_rules *rules, const char *path, const char *scratch, struct vcf_split **out,
                   struct error *e) MUST_CHECK;
const char *vcf_split_path(const struct vcf_split *s);
/* E_NOTFOUND: no such sample. `name` is the column's new name. */
int vcf_split_write(struct vcf_split *s, const char *member, const char *name, const char *to, struct vcf_counts *counts,
                    struct error *e) MUST_CHECK;
void vcf_split_free(struct vcf_split *s);

/* The wall's cleaner of OBJECT_GENOME (deid_object.h). E_DENIED unless the policy says "genomes": "keep". */
struct deid;
struct record;
int vcf_object(struct deid *w, const struct record *r, const char *to, struct error *e) MUST_CHECK;
void vcf_object_close(struct deid *w);
#endif
