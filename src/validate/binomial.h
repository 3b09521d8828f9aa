/* Exact bounds of a proportion (Clopper and Pearson 1934), one-sided: with the given confidence the true proportion is not below
 * binomial_lower(k, n) and, with the same confidence on its own, not above binomial_upper(k, n).
 *
 *     binomial_upper(0, 3000, 0.95)     // 0.000998: nothing missed among 3,000 identifiers
 *
 * n = 0: 0 and 1. Pure.
 */
#ifndef VALIDATE_BINOMIAL_H
#define VALIDATE_BINOMIAL_H
#include <stdbool.h>
#include <stdint.h>

double binomial_lower(uint64_t k, uint64_t n, double confidence);
double binomial_upper(uint64_t k, uint64_t n, double confidence);
#endif
