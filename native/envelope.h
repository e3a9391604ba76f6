/* A request of the Open Inference Protocol in its plain form: one tensor FP64 of so many columns, flat or in rows, an id, names of outputs.

   Whatever is otherwise - an escape in a text, a key that is not known or comes twice, a parameter, data before its shape, a number beyond
   any double - is not judged here: the answer is 0, and the reader that knows everything is asked. No byte behind the end is looked at. */
#ifndef RUNG_ENVELOPE_H
#define RUNG_ENVELOPE_H

#include "numbers.h"

#define MOST_OUTPUTS 8

typedef struct { const char *from; size_t size; } Text;

typedef struct {
    Text id;                     /* from is NULL without one */
    Text outputs[MOST_OUTPUTS];
    int output_count;            /* -1: none are named */
    int shaped, typed, missing;  /* missing: a value is null */
    size_t rows, width;
    const char *data;            /* behind its key and colon; the values are read by whoever has room for them */
} Envelope;

/* A text of printable ASCII without escapes, *at on its quote at first and behind the closing one at last. */
static int read_text(const char **at, const char *end, Text *found) {
    const char *p = *at;
    if (p == end || *p++ != '"') return 0;
    const char *from = p;
    while (p < end && *p != '"') {
        if ((unsigned char)*p < 0x20 || (unsigned char)*p > 0x7E || *p == '\\') return 0;
        p++;
    }
    if (p == end) return 0;
    found->from = from;
    found->size = (size_t)(p - from);
    *at = p + 1;
    return 1;
}

/* A key and its colon, *at behind them and the blanks that follow. */
static int read_key(const char **at, const char *end, Text *found) {
    if (!read_text(at, end, found)) return 0;
    const char *p = skip(*at, end);
    if (p == end || *p++ != ':') return 0;
    *at = skip(p, end);
    return 1;
}

static inline int is(const Text *text, const char *word) { return text->size == strlen(word) && !memcmp(text->from, word, text->size); }

/* What stands behind a member: 1 for another one, *at on it; 2 for the end of the list or object, *at behind it; 0 for anything else. */
static int goes_on(const char **at, const char *end, char closing) {
    const char *p = skip(*at, end);
    if (p == end) return 0;
    if (*p == closing) { *at = p + 1; return 2; }
    if (*p != ',') return 0;
    *at = skip(p + 1, end);
    return 1;
}

static int read_size(const char **at, const char *end, size_t *found) {
    const char *p = *at, *first = p;
    size_t n = 0;
    while (p < end && p - first < 10 && (unsigned)(*p - '0') < 10) n = n * 10 + (size_t)(*p++ - '0');
    if (p == first || (*first == '0' && p - first > 1)) return 0;
    *found = n;
    *at = p;
    return 1;
}

static int read_shape(const char **at, const char *end, Envelope *into) {
    if (into->shaped || *at == end || *(*at)++ != '[') return 0;
    *at = skip(*at, end);
    if (!read_size(at, end, &into->rows) || goes_on(at, end, ']') != 1) return 0;
    if (!read_size(at, end, &into->width) || goes_on(at, end, ']') != 2) return 0;
    into->shaped = 1;
    return 1;
}

/* n values and commas between them, *at behind the last one and its blanks. */
static int read_row(const char **at, const char *end, double *to, size_t n, int *missing) {
    const char *p = skip(*at, end);
    for (size_t i = 0; i < n; i++) {
        if (i) {
            if (p == end || *p++ != ',') return 0;
            p = skip(p, end);
        }
        if (end - p >= 4 && *p == 'n' && !memcmp(p, "null", 4)) { to[i] = NAN; *missing = 1; p += 4; }
        else if (!read_number(&p, end, to + i)) return 0;
        p = skip(p, end);
    }
    *at = p;
    return 1;
}

/* The values of a tensor: rows x width of them, all in one array or an array for each row. */
static int read_data(const char **at, const char *end, Envelope *into, double *to) {
    const char *p = *at;
    if (p == end || *p++ != '[') return 0;
    p = skip(p, end);
    if (p < end && *p == '[') {
        for (size_t row = 0; row < into->rows; row++) {
            if (p == end || *p++ != '[') return 0;
            if (!read_row(&p, end, to + row * into->width, into->width, &into->missing)) return 0;
            if (p == end || *p++ != ']') return 0;
            int more = goes_on(&p, end, ']');
            if (more != (row + 1 < into->rows ? 1 : 2)) return 0;
        }
        *at = p;
        return 1;
    }
    if (!read_row(&p, end, to, into->rows * into->width, &into->missing) || p == end || *p++ != ']') return 0;
    *at = p;
    return 1;
}

static int read_tensor(const char **at, const char *end, Envelope *into, double *(*room)(void *, Envelope *), void *whose) {
    Text key, text;
    int more = 1, named = 0;
    if (*at == end || *(*at)++ != '[') return 0;
    *at = skip(*at, end);
    if (*at == end || *(*at)++ != '{') return 0;
    *at = skip(*at, end);
    while (more == 1) {
        if (!read_key(at, end, &key)) return 0;
        if (is(&key, "data")) {
            /* two bytes a value at least, so that nobody's shape asks for more room than his body is worth */
            if (!into->shaped || into->data || !into->rows || !into->width) return 0;
            if (into->width > (size_t)(end - *at) || into->rows > (size_t)(end - *at) / into->width / 2 + 1) return 0;
            double *to = room(whose, into);
            into->data = *at;
            if (!to || !read_data(at, end, into, to)) return 0;
        } else if (is(&key, "shape")) {
            if (!read_shape(at, end, into)) return 0;
        } else if (is(&key, "name")) {
            if (named++ || !read_text(at, end, &text)) return 0;
        } else if (is(&key, "datatype")) {
            if (into->typed++ || !read_text(at, end, &text) || !is(&text, "FP64")) return 0;
        } else return 0;
        more = goes_on(at, end, '}');
    }
    return more == 2 && named && into->typed && into->data && goes_on(at, end, ']') == 2;
}

static int read_outputs(const char **at, const char *end, Envelope *into) {
    Text key;
    int more = 1;
    if (into->output_count >= 0 || *at == end || *(*at)++ != '[') return 0;
    *at = skip(*at, end);
    for (into->output_count = 0; more == 1;) {
        if (into->output_count == MOST_OUTPUTS || *at == end || *(*at)++ != '{') return 0;
        *at = skip(*at, end);
        if (!read_key(at, end, &key) || !is(&key, "name") || !read_text(at, end, &into->outputs[into->output_count++])) return 0;
        if (goes_on(at, end, '}') != 2) return 0;
        more = goes_on(at, end, ']');
    }
    return more == 2;
}

/* 1 when the whole body is a request in the plain form. ``room`` gives the place of its values once their shape is known, or NULL. */
static int read_envelope(const char *p, size_t size, Envelope *into, double *(*room)(void *, Envelope *), void *whose) {
    const char *end = p + size;
    Text key;
    int more = 1;
    memset(into, 0, sizeof *into);
    into->output_count = -1;
    p = skip(p, end);
    if (p == end || *p++ != '{') return 0;
    p = skip(p, end);
    while (more == 1) {
        if (!read_key(&p, end, &key)) return 0;
        if (is(&key, "inputs")) {
            if (into->data || !read_tensor(&p, end, into, room, whose)) return 0;
        } else if (is(&key, "outputs")) {
            if (!read_outputs(&p, end, into)) return 0;
        } else if (is(&key, "id")) {
            if (into->id.from || !read_text(&p, end, &into->id)) return 0;
        } else return 0;
        more = goes_on(&p, end, '}');
    }
    return more == 2 && into->data && skip(p, end) == end;
}
#endif
