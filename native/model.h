/* Scoring of tree ensembles and affine maps over rows of doubles.

   Every number that points somewhere is compared with what is there when a model is made, so that scoring needs no look at bounds:
   children lie behind their parents, so each walk ends. A leaf asks for the column after the last, which always holds NaN, and is its
   own left child: a walk that has ended stays where it is, and eight walks go side by side without a branch. */
#ifndef RUNG_MODEL_H
#define RUNG_MODEL_H

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define LANES 8
#define BLOCK_BYTES 16384
#define FEATURE_MASK 0xFFFFFFu
#define MISSING_RIGHT 1u
#define CATEGORICAL 2u
#define OUTSIDE_RIGHT 4u

enum { REFUSE_NAN = 1, REFUSE_INFINITE = 2, ROUND_TO_SINGLE = 4 };
enum { LINK_IDENTITY, LINK_SIGMOID, LINK_SOFTMAX, LINK_EXP, LINK_SIGMOIDS_TO_ONE, LINK_SIGMOID_SINGLE, LINK_SOFTMAX_SINGLE,
       LINK_EXP_SINGLE, LINK_LOG1P_EXP, LINK_SIGNED_SQUARE, LINK_COUNT };
enum { FINE, BAD_NAN = -1, BAD_INFINITE = -2, NO_MEMORY = -3 };

/* Inner: value is the threshold (or the number of a set), child the left one, with the right one behind it.
   Leaf: value is what it adds (or the number of a row of values), child is itself.
   word: 24 bits of column, then flags. */
typedef struct { double value; uint32_t child; uint32_t word; } Node;

/* An inner node as native/leaves.h asks it: the leaves that are on its left, as bits. */
typedef struct { double bound; uint64_t left; uint32_t column, missing_right; } Split;

typedef struct {
    uint32_t features, outputs, trees, width, sets;
    int checks, link, single, categorical, forest;
    double scale, divisor;
    double *base;      /* outputs */
    uint32_t *starts;  /* trees + 1 */
    uint32_t *column;  /* trees: the output a tree adds to, when width is 1 */
    Node *nodes;
    double *values;    /* rows of width outputs, when width > 1 */
    uint32_t *bounds;  /* sets + 1, in words */
    uint32_t *bits;
    double *weights;   /* affine: outputs x features */
    Split *splits;     /* NULL in a model that can only be walked; else see native/leaves.h */
    uint32_t *leaves, *ends;
} Model;

static void model_free(Model *m) {
    if (!m) return;
    free(m->base); free(m->starts); free(m->column); free(m->nodes); free(m->values); free(m->bounds); free(m->bits); free(m->weights);
    free(m->splits); free(m->leaves); free(m->ends);
    free(m);
}

/* What is wrong with a model, or NULL. */
static const char *model_fault(const Model *m, size_t nodes, size_t values, size_t words) {
    if (!m->features || m->features >= FEATURE_MASK || !m->outputs || m->outputs > 100000) return "no such number of columns";
    if (m->link < 0 || m->link >= LINK_COUNT || m->checks < 0 || m->checks > 7) return "unknown link or checks";
    if (!m->forest) return NULL;
    if (m->width != 1 && m->width != m->outputs) return "leaves of another width than the outputs";
    if (nodes == 0 || nodes > 0x7FFFFFFFu || m->starts[0] != 0 || m->starts[m->trees] != nodes) return "trees do not cover the nodes";
    if (m->sets) {
        if (m->bounds[0] != 0 || m->bounds[m->sets] != words) return "sets do not cover their words";
        for (uint32_t s = 0; s < m->sets; s++) if (m->bounds[s] > m->bounds[s + 1]) return "a set ends before it begins";
    }
    size_t rows = m->width > 1 ? values / m->width : 0;
    for (uint32_t t = 0; t < m->trees; t++) {
        uint32_t start = m->starts[t], end = m->starts[t + 1];
        if (start >= end || end > nodes) return "a tree without nodes";
        if (m->column[t] >= m->outputs) return "a tree adds to no output";
        for (uint32_t i = start; i < end; i++) {
            const Node *n = &m->nodes[i];
            uint32_t feature = n->word & FEATURE_MASK, flags = n->word >> 24;
            if (feature == m->features) {
                if (n->child != i || flags) return "a leaf that leads on";
                if (m->width > 1 && !(n->value >= 0 && n->value < (double)rows && n->value == floor(n->value))) return "a leaf without values";
                continue;
            }
            if (feature > m->features || flags > 7) return "a node asks for a column that is not there";
            if (n->child <= i || n->child >= end || n->child + 1 >= end) return "a child lies outside of its tree";
            if ((flags & CATEGORICAL) && !(n->value >= 0 && n->value < (double)m->sets && n->value == floor(n->value))) return "a node without its set";
        }
    }
    return NULL;
}

/* Among numbers only, NaN of the column of leaves aside. */
static inline uint32_t step_full(const Node *nodes, uint32_t at, const double *row) {
    const Node *n = &nodes[at];
    return n->child + (uint32_t)(row[n->word & FEATURE_MASK] > n->value);
}

static inline uint32_t step_numeric(const Node *nodes, uint32_t at, const double *row) {
    const Node *n = &nodes[at];
    double x = row[n->word & FEATURE_MASK];
    return n->child + (uint32_t)((x > n->value) | ((x != x) & (int)(n->word >> 24 & 1)));
}

static inline uint32_t step_any(const Model *m, uint32_t at, const double *row) {
    const Node *n = &m->nodes[at];
    uint32_t flags = n->word >> 24;
    if (!(flags & CATEGORICAL)) return step_numeric(m->nodes, at, row);
    double x = row[n->word & FEATURE_MASK];
    if (x != x) return n->child + (flags & MISSING_RIGHT);
    uint32_t outside = flags & OUTSIDE_RIGHT ? 1 : 0;
    if (!(x > -1.0 && x < 2147483648.0)) return n->child + outside;
    uint32_t code = (uint32_t)(int32_t)x, set = (uint32_t)n->value;
    const uint32_t *words = m->bits + m->bounds[set];
    if (code >> 5 >= m->bounds[set + 1] - m->bounds[set]) return n->child + outside;
    return n->child + ((words[code >> 5] >> (code & 31) & 1) ? 0 : 1);
}

static inline uint32_t walk(const Model *m, uint32_t at, const double *row) {
    for (;;) {
        uint32_t next = m->categorical ? step_any(m, at, row) : step_numeric(m->nodes, at, row);
        if (next == at) return at;
        at = next;
    }
}

/* Eight walks side by side, two steps at a time, until none has moved: each at its own node, in its own row. */
#define WALK(STEP, ROW)                                                                                          \
    do {                                                                                                         \
        moved = 0;                                                                                               \
        _Pragma("GCC unroll 8") for (int j = 0; j < LANES; j++) at[j] = STEP(at[j], ROW);                        \
        _Pragma("GCC unroll 8") for (int j = 0; j < LANES; j++) {                                                \
            uint32_t next = STEP(at[j], ROW);                                                                    \
            moved |= next ^ at[j];                                                                               \
            at[j] = next;                                                                                        \
        }                                                                                                        \
    } while (moved)
#define FULL(AT, ROW) step_full(nodes, AT, ROW)
#define NUMERIC(AT, ROW) step_numeric(nodes, AT, ROW)
#define ANY(AT, ROW) step_any(m, AT, ROW)

/* Eight trees over one row. */
static inline void walk_trees(const Model *m, const uint32_t *starts, const double *row, int missing, uint32_t *out) {
    const Node *nodes = m->nodes;
    uint32_t moved, at[LANES];
    for (int j = 0; j < LANES; j++) at[j] = starts[j];
    if (m->categorical) WALK(ANY, row);
    else if (missing) WALK(NUMERIC, row);
    else WALK(FULL, row);
    for (int j = 0; j < LANES; j++) out[j] = at[j];
}

/* One tree over eight rows. */
static inline void walk_rows(const Model *m, uint32_t start, const double *rows, size_t stride, int missing, uint32_t *out) {
    const Node *nodes = m->nodes;
    uint32_t moved, at[LANES];
    for (int j = 0; j < LANES; j++) at[j] = start;
    if (m->categorical) WALK(ANY, rows + j * stride);
    else if (missing) WALK(NUMERIC, rows + j * stride);
    else WALK(FULL, rows + j * stride);
    for (int j = 0; j < LANES; j++) out[j] = at[j];
}

static inline double add(const Model *m, double sum, double value) { return m->single ? (double)(float)(sum + value) : sum + value; }

static inline void add_leaf(const Model *m, uint32_t tree, uint32_t at, double *out) {
    if (m->width == 1) {
        double *sum = out + m->column[tree];
        *sum = add(m, *sum, m->nodes[at].value);
        return;
    }
    const double *values = m->values + (size_t)m->nodes[at].value * m->width;
    for (uint32_t k = 0; k < m->width; k++) out[k] = add(m, out[k], values[k]);
}

/* Copy a row behind which the column of leaves stands, and look whether it may be scored. */
static int take_row(const Model *m, const double *from, double *to, int *missing) {
    double nans = 0, endless = 0;
    for (uint32_t f = 0; f < m->features; f++) {
        double x = from[f];
        if (m->checks & ROUND_TO_SINGLE) x = (double)(float)x;
        to[f] = x;
        nans += x != x;
        endless += isinf(x) ? 1 : 0;
    }
    to[m->features] = NAN;
    *missing |= nans > 0;
    if (nans && m->checks & REFUSE_NAN) return BAD_NAN;
    return endless && m->checks & REFUSE_INFINITE ? BAD_INFINITE : FINE;
}

static double sigmoid(double x) { return x < 0 ? exp(x) / (1 + exp(x)) : 1 / (1 + exp(-x)); }

static void softmax(double *out, uint32_t n) {
    double most = out[0], sum = 0;
    for (uint32_t k = 1; k < n; k++) if (out[k] > most) most = out[k];
    for (uint32_t k = 0; k < n; k++) sum += out[k] = exp(out[k] - most);
    for (uint32_t k = 0; k < n; k++) out[k] /= sum;
}

static void softmax_single(double *out, uint32_t n) {
    float most = (float)out[0];
    double sum = 0;
    for (uint32_t k = 1; k < n; k++) if ((float)out[k] > most) most = (float)out[k];
    for (uint32_t k = 0; k < n; k++) sum += out[k] = expf((float)out[k] - most);
    for (uint32_t k = 0; k < n; k++) out[k] = (float)out[k] / (float)sum;
}

static float sigmoid_single(float x) { return 1.0f / (expf(-x < 88.7f ? -x : 88.7f) + 1.0f + 1e-16f); }

static void finish(const Model *m, double *out) {
    uint32_t n = m->outputs;
    double sum = 0;
    if (m->divisor != 1.0) for (uint32_t k = 0; k < n; k++) out[k] /= m->divisor;
    switch (m->link) {
    case LINK_SIGMOID: for (uint32_t k = 0; k < n; k++) out[k] = sigmoid(m->scale * out[k]); break;
    case LINK_SOFTMAX: softmax(out, n); break;
    case LINK_EXP: for (uint32_t k = 0; k < n; k++) out[k] = exp(out[k]); break;
    case LINK_SIGMOIDS_TO_ONE:
        for (uint32_t k = 0; k < n; k++) sum += out[k] = sigmoid(out[k]);
        for (uint32_t k = 0; k < n; k++) out[k] /= sum;
        break;
    case LINK_SIGMOID_SINGLE: for (uint32_t k = 0; k < n; k++) out[k] = sigmoid_single((float)out[k]); break;
    case LINK_SOFTMAX_SINGLE: softmax_single(out, n); break;
    case LINK_EXP_SINGLE: for (uint32_t k = 0; k < n; k++) out[k] = expf((float)out[k]); break;
    case LINK_LOG1P_EXP: for (uint32_t k = 0; k < n; k++) out[k] = log1p(exp(out[k])); break;
    case LINK_SIGNED_SQUARE: for (uint32_t k = 0; k < n; k++) out[k] = copysign(out[k] * out[k], out[k]); break;
    default: break;
    }
}

static int score_affine(const Model *m, const double *x, size_t n, double *out) {
    uint32_t width = m->features, outputs = m->outputs;
    for (size_t i = 0; i < n; i++) {
        const double *row = x + i * width;
        double *to = out + i * outputs;
        double probe = 0;
        for (uint32_t f = 0; f < width; f++) probe += row[f] * 0.0;
        if (probe != probe && m->checks) {
            int nan = 0, endless = 0;
            for (uint32_t f = 0; f < width; f++) { nan |= row[f] != row[f]; endless |= isinf(row[f]) ? 1 : 0; }
            if (nan && m->checks & REFUSE_NAN) return BAD_NAN;
            if (endless && m->checks & REFUSE_INFINITE) return BAD_INFINITE;
        }
        for (uint32_t k = 0; k < outputs; k++) {
            const double *w = m->weights + (size_t)k * width;
            double a = 0, b = 0, c = 0, d = 0;
            uint32_t f = 0;
            for (; f + 4 <= width; f += 4) { a += row[f] * w[f]; b += row[f + 1] * w[f + 1]; c += row[f + 2] * w[f + 2]; d += row[f + 3] * w[f + 3]; }
            for (; f < width; f++) a += row[f] * w[f];
            to[k] = (a + b) + (c + d) + m->base[k];
        }
        finish(m, to);
    }
    return FINE;
}

static void score_row(const Model *m, const double *row, int missing, double *out) {
    uint32_t at[LANES], t = 0;
    for (; t + LANES <= m->trees; t += LANES) {
        walk_trees(m, m->starts + t, row, missing, at);
        for (uint32_t j = 0; j < LANES; j++) add_leaf(m, t + j, at[j], out);
    }
    for (; t < m->trees; t++) add_leaf(m, t, walk(m, m->starts[t], row), out);
}

/* Scores of n rows: out has n x outputs. */
static int model_score(const Model *m, const double *x, size_t n, double *out) {
    if (!m->forest) return score_affine(m, x, n, out);
    size_t stride = (size_t)m->features + 1;
    size_t block = BLOCK_BYTES / (stride * sizeof(double)) / LANES * LANES;
    double few[256], *rows = few;
    if (block < LANES) block = LANES;
    if (block > n) block = n;
    if (block * stride > 256 && !(rows = malloc(block * stride * sizeof(double)))) return NO_MEMORY;
    int found = FINE;
    for (size_t from = 0; from < n && found == FINE; from += block) {
        size_t count = n - from < block ? n - from : block, i = 0;
        int missing = 0;
        double *to = out + from * m->outputs;
        for (size_t r = 0; r < count && found == FINE; r++) {
            found = take_row(m, x + (from + r) * m->features, rows + r * stride, &missing);
            memcpy(to + r * m->outputs, m->base, m->outputs * sizeof(double));
        }
        if (found != FINE) break;
        size_t whole = count / LANES * LANES;
        for (uint32_t t = 0; whole && t < m->trees; t++) {
            for (i = 0; i < whole; i += LANES) {
                uint32_t at[LANES];
                walk_rows(m, m->starts[t], rows + i * stride, stride, missing, at);
                for (size_t j = 0; j < LANES; j++) add_leaf(m, t, at[j], to + (i + j) * m->outputs);
            }
        }
        for (i = whole; i < count; i++) score_row(m, rows + i * stride, missing, to + i * m->outputs);
        for (i = 0; i < count; i++) finish(m, to + i * m->outputs);
    }
    if (rows != few) free(rows);
    return found;
}
#endif
