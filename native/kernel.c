/* rung.stats._kernel: the compiled part of Rung. It needs nothing but Python's stable interface of 3.11 and the buffers it is given.
   Whatever it does has an equal in NumPy (rung/stats/ensembles.py), so an installation without a C compiler only answers slower. */
#define Py_LIMITED_API 0x030B0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "lanes.h"
#include "leaves.h"

#define CAPSULE "rung.model"
#define HELD_WORK 20000 /* row-trees below which letting go of the interpreter's lock costs more than it gives */

static void release(PyObject *capsule) { model_free(PyCapsule_GetPointer(capsule, CAPSULE)); }

/* A copy of a buffer of items; *count is their number. */
static void *copied(PyObject *from, size_t item, size_t *count) {
    Py_buffer view;
    if (PyObject_GetBuffer(from, &view, PyBUF_C_CONTIGUOUS) < 0) return NULL;
    void *made = NULL;
    if ((size_t)view.len % item) PyErr_SetString(PyExc_ValueError, "a buffer that holds no whole number of items");
    else if (!(made = malloc(view.len ? (size_t)view.len : 1))) PyErr_NoMemory();
    else { memcpy(made, view.buf, (size_t)view.len); *count = (size_t)view.len / item; }
    PyBuffer_Release(&view);
    return made;
}

static PyObject *capsule_of(Model *m, const char *fault) {
    if (!fault && !PyErr_Occurred()) {
        model_order(m);
        PyObject *made = PyCapsule_New(m, CAPSULE, release);
        if (made) return made;
    }
    if (!PyErr_Occurred()) PyErr_Format(PyExc_ValueError, "The model is not whole: %s.", fault);
    model_free(m);
    return NULL;
}

static PyObject *py_forest(PyObject *self, PyObject *args) {
    (void)self;
    unsigned int features, outputs, width;
    int checks, link, single;
    double scale, divisor;
    PyObject *base, *starts, *column, *nodes, *values, *bounds, *bits;
    if (!PyArg_ParseTuple(args, "IIIiipddOOOOOOO:forest", &features, &outputs, &width, &checks, &link, &single, &scale, &divisor, &base, &starts, &column, &nodes, &values, &bounds, &bits)) return NULL;
    Model *m = calloc(1, sizeof(Model));
    if (!m) return PyErr_NoMemory();
    m->forest = 1; m->features = features; m->outputs = outputs; m->width = width;
    m->checks = checks; m->link = link; m->single = single; m->scale = scale; m->divisor = divisor;
    size_t n_base = 0, n_starts = 0, n_column = 0, n_nodes = 0, n_values = 0, n_bounds = 0, n_bits = 0;
    if (!(m->base = copied(base, 8, &n_base)) || !(m->starts = copied(starts, 4, &n_starts)) || !(m->column = copied(column, 4, &n_column)) ||
        !(m->nodes = copied(nodes, sizeof(Node), &n_nodes)) || !(m->values = copied(values, 8, &n_values)) ||
        !(m->bounds = copied(bounds, 4, &n_bounds)) || !(m->bits = copied(bits, 4, &n_bits)))
        return capsule_of(m, "no memory");
    if (n_base != outputs || n_starts < 2 || n_column != n_starts - 1 || n_column > 0x7FFFFFFF) return capsule_of(m, "its parts do not fit each other");
    m->trees = (uint32_t)n_column;
    m->sets = n_bounds ? (uint32_t)(n_bounds - 1) : 0;
    m->categorical = m->sets > 0;
    return capsule_of(m, model_fault(m, n_nodes, n_values, n_bits));
}

static PyObject *py_affine(PyObject *self, PyObject *args) {
    (void)self;
    unsigned int features, outputs;
    int checks, link;
    double scale;
    PyObject *base, *weights;
    if (!PyArg_ParseTuple(args, "IIiidOO:affine", &features, &outputs, &checks, &link, &scale, &base, &weights)) return NULL;
    Model *m = calloc(1, sizeof(Model));
    if (!m) return PyErr_NoMemory();
    m->features = features; m->outputs = outputs; m->checks = checks; m->link = link; m->scale = scale; m->divisor = 1.0;
    size_t n_base = 0, n_weights = 0;
    if (!(m->base = copied(base, 8, &n_base)) || !(m->weights = copied(weights, 8, &n_weights))) return capsule_of(m, "no memory");
    if (n_base != outputs || n_weights != (size_t)features * outputs) return capsule_of(m, "its parts do not fit each other");
    return capsule_of(m, model_fault(m, 0, 0, 0));
}

static PyObject *py_score(PyObject *self, PyObject *const *args, Py_ssize_t nargs) {
    (void)self;
    if (nargs != 3) { PyErr_SetString(PyExc_TypeError, "score(model, rows, out)"); return NULL; }
    const Model *m = PyCapsule_GetPointer(args[0], CAPSULE);
    Py_buffer x, out;
    if (!m || PyObject_GetBuffer(args[1], &x, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT) < 0) return NULL;
    if (PyObject_GetBuffer(args[2], &out, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | PyBUF_WRITABLE) < 0) { PyBuffer_Release(&x); return NULL; }
    int found = FINE;
    size_t n = (size_t)x.len / (m->features * sizeof(double));
    if (x.itemsize != 8 || out.itemsize != 8 || strcmp(x.format, "d") || strcmp(out.format, "d") ||
        n * m->features * sizeof(double) != (size_t)x.len || n * m->outputs * sizeof(double) != (size_t)out.len) {
        PyErr_Format(PyExc_ValueError, "The model takes rows of %u doubles and answers %u.", m->features, m->outputs);
    } else if (n * (m->forest ? m->trees : 1 + (size_t)m->features * m->outputs / 64) < HELD_WORK) {
        found = model_score_many(m, x.buf, n, out.buf);
    } else {
        Py_BEGIN_ALLOW_THREADS
        found = model_score_many(m, x.buf, n, out.buf);
        Py_END_ALLOW_THREADS
    }
    PyBuffer_Release(&x);
    PyBuffer_Release(&out);
    if (found == BAD_NAN) PyErr_SetString(PyExc_ValueError, "Input contains NaN, which the model does not take.");
    else if (found == BAD_INFINITE) PyErr_SetString(PyExc_ValueError, "Input contains infinity or a value too large for the model.");
    else if (found == NO_MEMORY) PyErr_NoMemory();
    if (PyErr_Occurred()) return NULL;
    Py_RETURN_NONE;
}

static PyObject *py_numbers(PyObject *self, PyObject *from) {
    (void)self;
    Py_buffer view;
    if (PyObject_GetBuffer(from, &view, PyBUF_C_CONTIGUOUS) < 0) return NULL;
    Numbers found = {0};
    int fine = read_numbers((const char *)view.buf, (size_t)view.len, &found);
    PyBuffer_Release(&view);
    PyObject *answer = NULL;
    if (fine == 1) {
        PyObject *bytes = PyByteArray_FromStringAndSize((const char *)found.values, (Py_ssize_t)(found.count * sizeof(double)));
        if (bytes) answer = Py_BuildValue("(Nnn)", bytes, (Py_ssize_t)found.rows, (Py_ssize_t)found.width);
    } else if (fine < 0) PyErr_NoMemory();
    else if (!PyErr_Occurred()) PyErr_SetString(PyExc_ValueError, "This is no array of numbers, nor one of such arrays of one length.");
    free(found.values);
    return answer;
}

static PyMethodDef METHODS[] = {
    {"forest", py_forest, METH_VARARGS, "A model of trees; every part is looked through first. Raises ValueError."},
    {"affine", py_affine, METH_VARARGS, "A model that is one affine map and a link. Raises ValueError."},
    {"score", (PyCFunction)(void (*)(void))py_score, METH_FASTCALL, "Write the scores of rows into out. Raises ValueError for rows it does not take."},
    {"numbers", py_numbers, METH_O, "Doubles of a JSON array of numbers, flat or of equal rows: (bytearray, rows or -1, width). Raises ValueError."},
    {"tensor", py_tensor, METH_VARARGS, "One tensor out of a request of the Open Inference Protocol in its plain form; None for any other."},
    {"lane", py_lane, METH_VARARGS, "A lane for one-row requests to a model with one score. Raises ValueError."},
    {"answer", (PyCFunction)(void (*)(void))py_answer, METH_FASTCALL, "Answer and log a one-row request; None when it is not plain."},
    {NULL, NULL, 0, NULL},
};
static int begin(PyObject *module) {
    (void)module;
    crc_tables();
    return 0;
}
static PyModuleDef_Slot SLOTS[] = {{Py_mod_exec, (void *)begin}, {0, NULL}};
static struct PyModuleDef MODULE = {PyModuleDef_HEAD_INIT, "_kernel", "Compiled scoring.", 0, METHODS, SLOTS, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__kernel(void) { return PyModuleDef_Init(&MODULE); }
