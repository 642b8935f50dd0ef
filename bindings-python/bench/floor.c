/* The least that a hit can cost: the interpreter's fast call, the key's bytes, the value copied to the
 * stack and into a new object. `copy` has the value at hand; `look_up` asks the library for it, as
 * nothing but a raw call in C can. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <hypercache.h>
#include <string.h>

static char stored[64];
static hc_store *store;

static PyObject *open_store(PyObject *self, PyObject *name) {
    (void)self;
    hc_pool *pool = NULL;
    const char *text = PyUnicode_AsUTF8(name);
    if (text == NULL || hc_pool_open(text, NULL, &pool, NULL) != HC_OK ||
        hc_store_find(pool, text, &store) != HC_OK) {
        PyErr_SetString(PyExc_KeyError, "no such store");
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *copy(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names) {
    (void)self;
    if (names != NULL || count != 1 || !PyUnicode_CheckExact(args[0])) return NULL;
    Py_ssize_t len;
    const char *key = PyUnicode_AsUTF8AndSize(args[0], &len);
    if (key == NULL) return NULL;
    char buffer[64];
    stored[0] = key[0];
    __asm__ volatile("" : : : "memory");
    memcpy(buffer, stored, sizeof buffer);
    __asm__ volatile("" : : "r"(buffer) : "memory");
    return PyBytes_FromStringAndSize(buffer, sizeof buffer);
}

static PyObject *look_up(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names) {
    (void)self;
    if (names != NULL || count != 1 || !PyUnicode_CheckExact(args[0])) return NULL;
    Py_ssize_t len;
    const char *key = PyUnicode_AsUTF8AndSize(args[0], &len);
    if (key == NULL) return NULL;
    char buffer[1024];
    hc_info info;
    hc_status status =
        hc_get_info(store, key, (size_t)len, 0, buffer, sizeof buffer, &info);
    if (status != HC_OK) Py_RETURN_NONE;
    return PyBytes_FromStringAndSize(buffer, (Py_ssize_t)info.len);
}

#define FAST(call) (PyCFunction)(void (*)(void))call, METH_FASTCALL | METH_KEYWORDS, NULL

static PyMethodDef methods[] = {
    {"open_store", open_store, METH_O, NULL},
    {"copy", FAST(copy)},
    {"look_up", FAST(look_up)},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef module = {PyModuleDef_HEAD_INIT, "floor", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit_floor(void) { return PyModule_Create(&module); }
