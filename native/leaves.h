/* Small trees over many rows without walking: every split is asked of 32 rows at once, and takes from each row that goes right the leaves
   on its left; the first leaf that is left is the row's (C. Lucchese et al., QuickScorer, SIGIR 2015). No step waits for the one before.
   It is for forests of trees with at most 64 leaves and no categories, and adds the same values in the same order as walking does. */
#ifndef RUNG_LEAVES_H
#define RUNG_LEAVES_H

#include "model.h"

#define BLOCK 32
#define MOST_LEAVES 64
#define ALIGNED 64

typedef void (*AddLeaves)(const Model *, const double *, int, double *);

#if defined(__x86_64__)
/* Add the leaves of 32 rows, given column by column, to their sums; in registers of so many bytes. */
#define ADD_LEAVES(NAME, TARGET, BYTES)                                                                                                  \
    typedef double NAME##_doubles __attribute__((vector_size(BYTES)));                                                                    \
    typedef long long NAME##_bits __attribute__((vector_size(BYTES)));                                                                    \
    __attribute__((target(TARGET))) static void NAME(const Model *m, const double *columns, int missing, double *out) {                   \
        enum { PARTS = BLOCK * 8 / BYTES };                                                                                               \
        uint32_t split = 0, leaf = 0;                                                                                                     \
        for (uint32_t t = 0; t < m->trees; t++) {                                                                                         \
            NAME##_bits kept[PARTS];                                                                                                      \
            _Pragma("GCC unroll 8") for (int k = 0; k < PARTS; k++) kept[k] = ~(NAME##_bits){0};                                          \
            for (; split < m->ends[2 * t]; split++) {                                                                                     \
                const Split *s = &m->splits[split];                                                                                       \
                const NAME##_doubles *x = (const NAME##_doubles *)(columns + (size_t)s->column * BLOCK);                                  \
                const NAME##_doubles bound = s->bound - (NAME##_doubles){0};                                                              \
                const NAME##_bits left = (long long)s->left - (NAME##_bits){0};                                                           \
                if (missing && s->missing_right) {                                                                                        \
                    _Pragma("GCC unroll 8") for (int k = 0; k < PARTS; k++) kept[k] &= (NAME##_bits)(x[k] <= bound) | ~left;              \
                } else {                                                                                                                  \
                    _Pragma("GCC unroll 8") for (int k = 0; k < PARTS; k++) kept[k] &= ~((NAME##_bits)(x[k] > bound) & left);             \
                }                                                                                                                         \
            }                                                                                                                             \
            uint64_t rest[BLOCK];                                                                                                         \
            memcpy(rest, kept, sizeof rest);                                                                                              \
            put_leaves(m, t, m->leaves + leaf, rest, out);                                                                                \
            leaf = m->ends[2 * t + 1];                                                                                                    \
        }                                                                                                                                 \
    }

static inline void put_leaves(const Model *m, uint32_t tree, const uint32_t *leaves, const uint64_t *rest, double *out) {
    if (m->width == 1 && m->outputs == 1 && !m->single)
        for (int r = 0; r < BLOCK; r++) out[r] += m->nodes[leaves[__builtin_ctzll(rest[r])]].value;
    else
        for (int r = 0; r < BLOCK; r++) add_leaf(m, tree, leaves[__builtin_ctzll(rest[r])], out + (size_t)r * m->outputs);
}

ADD_LEAVES(add_leaves_avx2, "avx2", 32)
ADD_LEAVES(add_leaves_avx512, "avx512f,avx512dq", 64)

/* How it is done here; NULL where walking is faster. */
static AddLeaves add_leaves(void) {
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq")) return add_leaves_avx512;
    return __builtin_cpu_supports("avx2") ? add_leaves_avx2 : NULL;
}
#else
static AddLeaves add_leaves(void) { return NULL; }
#endif

/* Leaves in their order from left to right, and splits in any order; 0 when there are more than fit. A node that two parents share is
   two nodes here, so the limits also end what would go on for long. */
typedef struct { const Model *m; Split *splits; uint32_t *leaves; uint32_t split_count, leaf_count; } Order;

static int put_in_order(Order *o, uint32_t at) {
    const Node *n = &o->m->nodes[at];
    if (n->child == at) {
        if (o->leaf_count == MOST_LEAVES) return 0;
        o->leaves[o->leaf_count++] = at;
        return 1;
    }
    if (o->split_count == MOST_LEAVES - 1) return 0;
    Split *split = &o->splits[o->split_count++];
    uint32_t first = o->leaf_count;
    if (!put_in_order(o, n->child)) return 0;
    *split = (Split){n->value, ((1ULL << (o->leaf_count - first)) - 1) << first, n->word & FEATURE_MASK, n->word >> 24 & MISSING_RIGHT};
    return put_in_order(o, n->child + 1);
}

/* Make ready for it, where it can be done; a model without its splits is walked. */
static void model_order(Model *m) {
    if (!add_leaves() || !m->forest || m->categorical || m->trees > 1000000 || m->features > 100000) return;
    for (uint32_t t = 0; t < m->trees; t++) if (m->starts[t + 1] - m->starts[t] >= 2 * MOST_LEAVES) return;
    uint32_t *ends = malloc((size_t)m->trees * 2 * sizeof *ends), *leaves = malloc((size_t)m->trees * MOST_LEAVES * sizeof *leaves);
    Split *splits = malloc((size_t)m->trees * MOST_LEAVES * sizeof *splits);
    Order o = {m, splits, leaves, 0, 0};
    uint32_t split = 0, leaf = 0, t = 0;
    for (; ends && leaves && splits && t < m->trees; t++) {
        o.splits = splits + split;
        o.leaves = leaves + leaf;
        o.split_count = o.leaf_count = 0;
        if (!put_in_order(&o, m->starts[t])) break;
        ends[2 * t] = split += o.split_count;
        ends[2 * t + 1] = leaf += o.leaf_count;
    }
    if (!ends || !leaves || !splits || t < m->trees) {
        free(ends); free(leaves); free(splits);
        return;
    }
    Split *fewer = split ? realloc(splits, split * sizeof *splits) : NULL;
    uint32_t *shorter = realloc(leaves, leaf * sizeof *leaves);
    m->splits = fewer ? fewer : splits;
    m->leaves = shorter ? shorter : leaves;
    m->ends = ends;
}

/* Scores of n rows, as ``model_score`` finds them. */
static int model_score_many(const Model *m, const double *x, size_t n, double *out) {
    size_t whole = m->splits ? n / BLOCK * BLOCK : 0, width = m->features;
    if (!whole) return model_score(m, x, n, out);
    double *held = malloc(((width + 1) * BLOCK + width + 1) * sizeof(double) + ALIGNED);
    if (!held) return NO_MEMORY;
    double *columns = (double *)(((uintptr_t)held + ALIGNED - 1) / ALIGNED * ALIGNED), *row = columns + (width + 1) * BLOCK;
    AddLeaves add_all = add_leaves();
    int found = FINE;
    for (size_t from = 0; from < whole && found == FINE; from += BLOCK) {
        double *to = out + from * m->outputs;
        int missing = 0;
        for (size_t r = 0; r < BLOCK && found == FINE; r++) {
            found = take_row(m, x + (from + r) * width, row, &missing);
            for (size_t f = 0; f < width; f++) columns[f * BLOCK + r] = row[f];
            memcpy(to + r * m->outputs, m->base, m->outputs * sizeof(double));
        }
        if (found != FINE) break;
        add_all(m, columns, missing, to);
        for (size_t r = 0; r < BLOCK; r++) finish(m, to + r * m->outputs);
    }
    free(held);
    return found != FINE || whole == n ? found : model_score(m, x + whole * width, n - whole, out + whole * m->outputs);
}
#endif
