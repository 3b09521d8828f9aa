/* Private to deid/: policy/vcf-fields.json, and the words that a file's own header forbids. */
#ifndef DEID_VCF_RULES_H
#define DEID_VCF_RULES_H
#include "base/json.h"
#include "base/map.h"
#include "deid/code_rules.h"
#include "record/vcf.h"

enum vcf_kind { VCF_FLAG, VCF_INTEGER, VCF_FLOAT, VCF_BASES, VCF_GENOTYPE, VCF_NOTE, VCF_VALUES };
struct vcf_rule {
  enum vcf_kind kind;
  struct str begins;  /* a key that ends in *: its beginning */
  struct map *values; /* VCF_VALUES */
};
struct vcf_shapes {
  const struct code_shape **shape;
  size_t n;
};
struct vcf_keys {
  struct map exact; /* key -> index of its rule */
  struct vcf_rule *rule;
  uint32_t *prefix; /* rules with a `begins` */
  size_t rules, prefixes;
};
struct vcf_rules {
  struct arena memory;
  struct json fields; /* for vcf_assembly */
  struct vcf_shapes contigs, ids, filters, alts;
  struct vcf_keys info, format;
  struct map cohort; /* INFO keys computed over all samples: left out of files of 2 to cohort_below - 1 samples */
  uint32_t cohort_below;
};
bool vcf_shaped(const struct vcf_shapes *s, struct str text);
const struct vcf_rule *vcf_rule_of(const struct vcf_keys *k, struct str key);
/* Whether a value is one of its rule's kind. `alts`: alleles in ALT, the largest a genotype may name. `forbidden`: words in lower case that no note may hold. */
bool vcf_value(const struct vcf_rule *r, struct str value, uint32_t alts, const struct map *forbidden);
bool vcf_bases(struct str s); /* letters of the nucleotide code */
bool vcf_number(struct str s, bool real);

enum { VCF_WORD_LEAST = 4, VCF_WORD_MOST = 64 };
/* Adds the whole text and its words of VCF_WORD_LEAST bytes and more. */
int vcf_forbid(struct map *forbidden, struct str text, struct error *e) MUST_CHECK;
bool vcf_forbidden(const struct map *forbidden, struct str text); /* holds a forbidden word */
#endif
