// A Python extension module that links libhypercache itself and knows of Python's package nothing but
// the names of a pool and a store.
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <hypercache.hpp>

#include <optional>
#include <string>
#include <utility>

namespace {

PyObject *fail(const std::string &what) {
    PyErr_SetString(PyExc_RuntimeError, what.c_str());
    return nullptr;
}

struct opened {
    hypercache::pool pool;
    hypercache::store store;
};

// Opens what Python has named, or leaves an exception.
std::optional<opened> open(PyObject *args) {
    const char *pool_name = nullptr;
    const char *store_name = nullptr;
    if (!PyArg_ParseTuple(args, "ss", &pool_name, &store_name)) return std::nullopt;
    auto pool = hypercache::pool::find(pool_name);
    if (!pool) {
        fail(std::string(pool.error().message()));
        return std::nullopt;
    }
    auto store = pool->find_store(store_name);
    if (!store) {
        fail("no such store");
        return std::nullopt;
    }
    return opened{std::move(*pool), std::move(*store)};
}

// work(pool, store): reads what Python wrote, writes what Python reads, returns what it read.
PyObject *work(PyObject *, PyObject *args) {
    auto both = open(args);
    if (!both) return nullptr;
    auto read = both->store.get("from python");
    if (!read) return fail("from python: not there");
    for (int i = 0; i < 1000; ++i) {
        auto done = both->store.set("from c++:" + std::to_string(i), std::string(64, 'c'));
        if (!done) return fail("not stored");
    }
    return PyBytes_FromStringAndSize(read->data(), static_cast<Py_ssize_t>(read->size()));
}

// counters(pool, store): entries, hits, misses, and the pool's used bytes, as C++ sees them.
PyObject *counters(PyObject *, PyObject *args) {
    auto both = open(args);
    if (!both) return nullptr;
    auto stats = both->store.stats();
    return Py_BuildValue("KKKK", static_cast<unsigned long long>(stats.entries),
                         static_cast<unsigned long long>(stats.hits),
                         static_cast<unsigned long long>(stats.misses),
                         static_cast<unsigned long long>(both->pool.stats().used_bytes));
}

PyMethodDef methods[] = {
    {"work", work, METH_VARARGS, nullptr},
    {"counters", counters, METH_VARARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "extension", nullptr, -1, methods, nullptr, nullptr, nullptr, nullptr,
};

}  // namespace

PyMODINIT_FUNC PyInit_extension() { return PyModule_Create(&module); }
