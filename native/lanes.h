/* Lanes as Python sees them: made of prepared texts, and asked with a body and room in a segment of the prediction log. */
#ifndef RUNG_LANES_H
#define RUNG_LANES_H

#include "lane.h"

static void lane_free(Lane *lane) {
    if (!lane) return;
    Py_XDECREF(lane->held);
    free(lane);
}

static void lane_release(PyObject *capsule) { lane_free(PyCapsule_GetPointer(capsule, LANE)); }

static int text_of(PyObject *from, Text *found) {
    char *at;
    Py_ssize_t size;
    if (PyBytes_AsStringAndSize(from, &at, &size) < 0) return 0;
    *found = (Text){at, (size_t)size};
    return 1;
}

static int lane_outputs(Lane *lane, PyObject *outputs) {
    Py_ssize_t count = PyTuple_Size(outputs);
    if (count < 1 || count > MOST_OUTPUTS) return 0;
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *name, *head;
        Output *one = &lane->outputs[i];
        if (!PyArg_ParseTuple(PyTuple_GetItem(outputs, i), "SiS", &name, &one->kind, &head)) return 0;
        if (!text_of(name, &one->name) || !text_of(head, &one->head) || one->kind < SAY_CLASS || one->kind > SAY_ID) return 0;
    }
    lane->output_count = (int)count;
    return 1;
}

static PyObject *py_lane(PyObject *self, PyObject *args) {
    (void)self;
    PyObject *model, *bounds, *front, *back, *outputs, *no, *yes;
    double threshold;
    if (!PyArg_ParseTuple(args, "OOSSO!SSd:lane", &model, &bounds, &front, &back, &PyTuple_Type, &outputs, &no, &yes, &threshold)) return NULL;
    const Model *m = PyCapsule_GetPointer(model, "rung.model");
    if (!m) return NULL;
    Lane *lane = calloc(1, sizeof(Lane));
    if (!lane) return PyErr_NoMemory();
    Py_INCREF(args);
    lane->held = args;
    lane->model = m;
    lane->threshold = threshold;
    Py_buffer view = {0};
    int fine = m->outputs == 1 && m->features <= MOST_COLUMNS && text_of(front, &lane->front) && text_of(back, &lane->back) &&
               text_of(no, &lane->texts[0]) && text_of(yes, &lane->texts[1]) && lane_outputs(lane, outputs);
    if (fine && PyObject_GetBuffer(bounds, &view, PyBUF_C_CONTIGUOUS) == 0) {
        fine = (size_t)view.len == 2 * sizeof(double) * m->features;
        if (fine) {
            memcpy(lane->low, view.buf, (size_t)view.len / 2);
            memcpy(lane->high, (const char *)view.buf + view.len / 2, (size_t)view.len / 2);
            for (uint32_t f = 0; f < m->features; f++) lane->whole |= lane->low[f] == lane->low[f];
        }
        PyBuffer_Release(&view);
    }
    PyObject *made = fine && !PyErr_Occurred() ? PyCapsule_New(lane, LANE, lane_release) : NULL;
    if (made) return made;
    if (!PyErr_Occurred()) PyErr_SetString(PyExc_ValueError, "The parts of the lane do not fit each other.");
    lane_free(lane);
    return NULL;
}

/* A text of letters, digits and - only, so that it needs no escape anywhere. */
static int plain_of(PyObject *from, size_t most, Text *found) {
    Py_ssize_t size;
    const char *at = PyUnicode_AsUTF8AndSize(from, &size);
    if (!at || (size_t)size > most) return 0;
    for (Py_ssize_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)at[i];
        if (!((c | 32) >= 'a' && (c | 32) <= 'z') && !(c >= '0' && c <= '9') && c != '-') return 0;
    }
    *found = (Text){at, (size_t)size};
    return 1;
}

static int64_t ticks_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* answer(lane, body, id, trace id, now in us, room, at, source, caller) -> (answer, end of the frame, us to read, to score) or None. */
static PyObject *py_answer(PyObject *self, PyObject *const *args, Py_ssize_t nargs) {
    (void)self;
    if (nargs != 9) { PyErr_SetString(PyExc_TypeError, "answer(lane, body, id, trace, now_us, room, at, source, caller)"); return NULL; }
    const Lane *lane = PyCapsule_GetPointer(args[0], LANE);
    Text body;
    Logged logged = {0};
    if (!lane || !text_of(args[1], &body)) return NULL;
    Py_ssize_t at = PyLong_AsSsize_t(args[6]);
    logged.now_us = PyLong_AsLongLong(args[4]);
    unsigned long source = PyLong_AsUnsignedLong(args[7]), caller = PyLong_AsUnsignedLong(args[8]);
    if (PyErr_Occurred()) return NULL;
    if (at < 0 || source > UINT16_MAX || caller > UINT32_MAX || !plain_of(args[2], 200, &logged.identity) || !logged.identity.size ||
        !plain_of(args[3], 64, &logged.trace)) {
        if (!PyErr_Occurred()) PyErr_SetString(PyExc_ValueError, "No such id, place, source or caller.");
        return NULL;
    }
    logged.source = (uint32_t)source;
    logged.caller = (uint32_t)caller;
    const Model *m = lane->model;
    Envelope asked;
    const Output *chosen[MOST_OUTPUTS];
    double row[MOST_COLUMNS], score;
    int count;
    int64_t came = ticks_ns();
    if (!read_envelope(body.from, body.size, &asked, one_row, row) || asked.width != m->features || asked.missing || asked.id.size > UINT16_MAX ||
        (lane->whole && !fits_columns(lane, row)) || !(count = chosen_outputs(lane, &asked, chosen))) {
        PyErr_Clear();
        Py_RETURN_NONE;
    }
    logged.request = asked.id;
    int64_t begun = ticks_ns();
    int found = model_score(m, row, 1, &score);
    int64_t scored = ticks_ns();
    logged.elapsed_us = (uint64_t)(scored - begun) / 1000;
    if (found == NO_MEMORY) return PyErr_NoMemory();
    if (found != FINE) Py_RETURN_NONE;
    Py_buffer room;
    if (PyObject_GetBuffer(args[5], &room, PyBUF_WRITABLE) < 0) return NULL;
    size_t size = frame_size(&logged, m->features);
    PyObject *made = NULL, *reply = NULL;
    if (at > room.len || size > (size_t)(room.len - at)) {
        made = Py_None;
        Py_INCREF(made);
    } else if ((reply = reply_of(lane, &asked, chosen, count, score, logged.identity))) {
        made = Py_BuildValue("(Ondd)", reply, at + (Py_ssize_t)size, (double)(begun - came) / 1e3, (double)(scored - begun) / 1e3);
        if (made) put_frame((uint8_t *)room.buf + at, &logged, row, m->features, score); /* last: from here on nothing can fail */
        Py_DECREF(reply);
    }
    PyBuffer_Release(&room);
    return made;
}

typedef struct { PyObject *values; size_t width; } Wanted;

static double *all_rows(void *whose, Envelope *of) {
    Wanted *wanted = whose;
    if (of->width != wanted->width || wanted->values) return NULL;
    wanted->values = PyByteArray_FromStringAndSize(NULL, (Py_ssize_t)(of->rows * of->width * sizeof(double)));
    return wanted->values ? (double *)PyByteArray_AsString(wanted->values) : NULL;
}

/* tensor(body, width) -> (doubles, rows, id or None, names of outputs or None), or None for whatever is no request in the plain form. */
static PyObject *py_tensor(PyObject *self, PyObject *args) {
    (void)self;
    Py_buffer body;
    Py_ssize_t width;
    if (!PyArg_ParseTuple(args, "y*n:tensor", &body, &width)) return NULL;
    Wanted wanted = {NULL, width > 0 ? (size_t)width : 0};
    Envelope asked;
    PyObject *made = NULL, *names = NULL;
    if (!read_envelope(body.buf, (size_t)body.len, &asked, all_rows, &wanted)) {
        PyErr_Clear();
        made = Py_None;
        Py_INCREF(made);
    } else {
        int count = asked.output_count;
        names = count < 0 ? NULL : PyTuple_New(count);
        int fine = count < 0 || names;
        for (int i = 0; fine && i < count; i++) {
            PyObject *name = PyUnicode_FromStringAndSize(asked.outputs[i].from, (Py_ssize_t)asked.outputs[i].size);
            fine = name && PyTuple_SetItem(names, i, name) == 0;
        }
        if (fine) made = Py_BuildValue("(Ons#O)", wanted.values, (Py_ssize_t)asked.rows, asked.id.from, (Py_ssize_t)asked.id.size, names ? names : Py_None);
        Py_XDECREF(names);
    }
    Py_XDECREF(wanted.values);
    PyBuffer_Release(&body);
    return made;
}
#endif
