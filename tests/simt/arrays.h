// NumPy arrays as global memory of a launch: each is copied between guard zones, and copied back if it is written.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <string>
#include <utility>
#include <vector>

#include "simt/memory.h"

namespace simt {

namespace py = pybind11;

class Arrays {
 public:
    Memory* stream() { return &memory_; }

    // A pointer to the copy of an array that is only read; null for None. Strides stay what they are.
    template <typename T>
    const T* input(const char* name, const py::object& object) {
        if (object.is_none()) return nullptr;
        return static_cast<const T*>(add(name, py::cast<py::array>(object), sizeof(T), false));
    }
    template <typename T>
    T* output(const char* name, py::array array) {
        if (!array.writeable()) throw Error(std::string(name) + " is read-only");
        return static_cast<T*>(add(name, array, sizeof(T), true));
    }

    // After the launches: checks the guard zones, copies the outputs back and says what was touched.
    py::dict finish() {
        for (const auto& buffer : memory_.buffers()) buffer->check_guards();
        for (auto& [array, buffer] : outputs_) std::memcpy(array.mutable_data(), buffer->begin, buffer->bytes);
        py::dict sectors, report;
        for (const auto& b : memory_.buffers()) {
            py::dict counts;
            counts["loads"] = b->loads.a_launch, counts["stores"] = b->stores.a_launch;
            counts["loads_by_block"] = b->loads.a_block, counts["stores_by_block"] = b->stores.a_block;
            sectors[py::str(b->name)] = counts;
        }
        report["launches"] = memory_.launches, report["blocks"] = memory_.blocks;
        report["uninitialised_reads"] = memory_.uninitialised_reads;
        report["sectors"] = sectors;
        return report;
    }

 private:
    void* add(const char* name, const py::array& array, size_t itemsize, bool writable) {
        if (size_t(array.itemsize()) != itemsize) {
            throw Error(std::string(name) + " has elements of " + std::to_string(array.itemsize()) + " bytes, not " +
                        std::to_string(itemsize));
        }
        ptrdiff_t bytes = ptrdiff_t(itemsize);  // from the first element to the end of the last
        for (ptrdiff_t d = 0; d < array.ndim(); ++d) {
            if (array.strides(d) < 0) throw Error(std::string(name) + " has a negative stride");
            bytes += (array.shape(d) - 1) * array.strides(d);
        }
        void* pointer = memory_.add(name, array.data(), array.size() ? size_t(bytes) : 0, writable);
        if (writable) outputs_.emplace_back(array, memory_.buffers().back().get());
        return pointer;
    }

    Memory memory_;
    std::vector<std::pair<py::array, Buffer*>> outputs_;
};

}  // namespace simt
