/* A lane: a request for one row of a model with one score answered in one go, from the body of the request to the body of the answer and
   the frame of the prediction log. It does what serving/codecs/open_inference.py, answering.py and packing.py do, byte for byte; whatever
   is not plain is theirs: the answer is None, and nothing has been done. */
#ifndef RUNG_LANE_H
#define RUNG_LANE_H

#include <time.h>

#include "envelope.h"
#include "model.h"

#define LANE "rung.lane"
#define MOST_COLUMNS 512
#define FRAME_HEAD 44
#define MATRIX_KIND 3

enum { SAY_CLASS, SAY_SCORE, SAY_ID };
typedef struct { Text name, head; int kind; } Output;

typedef struct {
    PyObject *held; /* whatever is pointed to below */
    const Model *model;
    Text front, back, texts[2];
    Output outputs[MOST_OUTPUTS];
    int output_count, whole;
    double threshold, low[MOST_COLUMNS], high[MOST_COLUMNS]; /* of columns that take whole numbers; low is NaN for others */
} Lane;

static uint32_t CRC[8][256];

static void crc_tables(void) {
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int k = 0; k < 8; k++) c = c & 1 ? 0xEDB88320u ^ c >> 1 : c >> 1;
        CRC[0][i] = c;
    }
    for (uint32_t i = 0; i < 256; i++)
        for (int t = 1; t < 8; t++) CRC[t][i] = CRC[t - 1][i] >> 8 ^ CRC[0][CRC[t - 1][i] & 0xFF];
}

static uint32_t crc_of(const uint8_t *p, size_t n) {
    uint32_t c = 0xFFFFFFFFu;
    for (; n >= 8; n -= 8, p += 8) {
        c ^= (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
        c = CRC[7][c & 0xFF] ^ CRC[6][c >> 8 & 0xFF] ^ CRC[5][c >> 16 & 0xFF] ^ CRC[4][c >> 24] ^ CRC[3][p[4]] ^ CRC[2][p[5]] ^ CRC[1][p[6]] ^ CRC[0][p[7]];
    }
    while (n--) c = CRC[0][(c ^ *p++) & 0xFF] ^ c >> 8;
    return ~c;
}

static uint8_t *put(uint8_t *to, const void *from, size_t n) {
    if (n) memcpy(to, from, n);
    return to + n;
}
static uint8_t *put_text(uint8_t *to, Text text) { return put(to, text.from, text.size); }

static uint8_t *put_number(uint8_t *to, uint64_t value, int bytes) {
    for (int i = 0; i < bytes; i++) to[i] = (uint8_t)(value >> 8 * i);
    return to + bytes;
}

static uint8_t *put_double(uint8_t *to, double value) {
    uint64_t bits;
    memcpy(&bits, &value, 8);
    return put_number(to, bits, 8);
}

/* A text as MessagePack has it; at most 3 bytes more than itself. */
static uint8_t *put_packed(uint8_t *to, Text text) {
    if (text.size < 32) *to++ = (uint8_t)(0xA0 | text.size);
    else if (text.size < 256) { *to++ = 0xD9; *to++ = (uint8_t)text.size; }
    else { *to++ = 0xDA; *to++ = (uint8_t)(text.size >> 8); *to++ = (uint8_t)text.size; }
    return put_text(to, text);
}

static size_t packed_size(Text text) { return text.size + (text.size < 32 ? 1 : text.size < 256 ? 2 : 3); }

static double *one_row(void *whose, Envelope *of) { return of->rows == 1 && of->width <= MOST_COLUMNS ? whose : NULL; }

/* Whether the columns that take whole numbers hold such, within their bounds. */
static int fits_columns(const Lane *lane, const double *row) {
    for (uint32_t f = 0; f < lane->model->features; f++) {
        double x = row[f];
        if (lane->low[f] == lane->low[f] && !(x == rint(x) && x >= lane->low[f] && x <= lane->high[f])) return 0;
    }
    return 1;
}

/* The outputs asked for, in their order; 0 when one is not known here, or comes twice. */
static int chosen_outputs(const Lane *lane, const Envelope *asked, const Output **chosen) {
    if (asked->output_count < 0) {
        for (int i = 0; i < lane->output_count; i++) chosen[i] = &lane->outputs[i];
        return lane->output_count;
    }
    for (int i = 0; i < asked->output_count; i++) {
        const Text *wanted = &asked->outputs[i];
        chosen[i] = NULL;
        for (int k = 0; k < lane->output_count; k++) {
            const Output *one = &lane->outputs[k];
            if (one->name.size == wanted->size && !memcmp(one->name.from, wanted->from, wanted->size)) chosen[i] = one;
        }
        for (int k = 0; k < i; k++) if (chosen[k] == chosen[i]) return 0;
        if (!chosen[i]) return 0;
    }
    return asked->output_count;
}

/* The body of the answer; NULL with an error set. */
static PyObject *reply_of(const Lane *lane, const Envelope *asked, const Output **chosen, int count, double score, Text identity) {
    static const Text null = {"null", 4};
    char *said = isfinite(score) ? PyOS_double_to_string(score, 'r', 0, Py_DTSF_ADD_DOT_0, NULL) : NULL;
    if (!said && isfinite(score)) return NULL;
    Text number = said ? (Text){said, strlen(said)} : null, label = lane->texts[score >= lane->threshold];
    size_t size = lane->front.size + lane->back.size + (asked->id.from ? asked->id.size + 8 : 0) + 2;
    for (int i = 0; i < count; i++)
        size += chosen[i]->head.size + 3 + (chosen[i]->kind == SAY_CLASS ? label.size : chosen[i]->kind == SAY_SCORE ? number.size : identity.size + 2);
    size -= 1; /* one comma fewer than outputs */
    PyObject *made = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
    if (made) {
        uint8_t *to = (uint8_t *)PyBytes_AsString(made);
        to = put_text(to, lane->front);
        for (int i = 0; i < count; i++) {
            if (i) *to++ = ',';
            to = put_text(to, chosen[i]->head);
            if (chosen[i]->kind == SAY_CLASS) to = put_text(to, label);
            else if (chosen[i]->kind == SAY_SCORE) to = put_text(to, number);
            else { *to++ = '"'; to = put_text(to, identity); *to++ = '"'; }
            *to++ = ']'; *to++ = '}';
        }
        *to++ = ']';
        if (asked->id.from) { to = put(to, ",\"id\":\"", 7); to = put_text(to, asked->id); *to++ = '"'; }
        *to++ = ',';
        put_text(to, lane->back);
    }
    if (said) PyMem_Free(said);
    return made;
}

/* What an answer is logged with. */
typedef struct { Text identity, request, trace; int64_t now_us; uint64_t elapsed_us; uint32_t source, caller; } Logged;

static size_t extra_size(const Logged *l) { return l->request.size || l->trace.size ? 1 + packed_size(l->request) + packed_size(l->trace) + 2 : 0; }

static size_t frame_size(const Logged *l, uint32_t width) { return 4 + FRAME_HEAD + l->identity.size + 16 + 8 * (size_t)width + extra_size(l); }

/* The frame of one row; there must be room for it. */
static void put_frame(uint8_t *at, const Logged *l, const double *row, uint32_t width, double score) {
    size_t size = frame_size(l, width), extra = extra_size(l);
    uint8_t *to = put_number(at + 4, size - 8, 4);
    *to++ = MATRIX_KIND;
    *to++ = 0;
    to = put_number(to, l->source, 2);
    to = put_number(to, 1, 4);
    to = put_number(to, 1, 2);
    to = put_number(to, l->identity.size, 2);
    to = put_number(to, extra, 4);
    to = put_number(to, 0, 4);
    to = put_number(to, 0, 4);
    to = put_number(to, (uint64_t)l->now_us, 8);
    to = put_number(to, l->elapsed_us > UINT32_MAX ? UINT32_MAX : l->elapsed_us, 4);
    to = put_number(to, l->caller, 4);
    to = put_text(to, l->identity);
    to = put_number(to, (uint64_t)l->now_us, 8);
    to = put_double(to, score);
    for (uint32_t f = 0; f < width; f++) to = put_double(to, row[f]);
    if (extra) {
        *to++ = 0x94;
        to = put_packed(put_packed(to, l->request), l->trace);
        *to++ = 0xC0;
        *to++ = 0xC0;
    }
    put_number(at, crc_of(at + 4, size - 4), 4);
}
#endif
