// Messages to TensorRT's logger, and the boundary that no exception crosses.
#pragma once

#include <NvInferRuntime.h>

#include <exception>
#include <string>

namespace vinr::tensorrt {

// Where TensorRT says how its loggers are found; null before it does.
void set_logger_finder(nvinfer1::ILoggerFinder* finder) noexcept;

// To the logger of the engine or context that calls; to stderr where there is none.
void log_error(const char* plugin, const char* message) noexcept;

// Whether f() ran through; what it throws is logged.
template <typename F>
bool completes(const char* plugin, F&& f) noexcept {
    try {
        f();
        return true;
    } catch (const std::exception& error) {
        log_error(plugin, error.what());
    } catch (...) {
        log_error(plugin, "an unknown exception");
    }
    return false;
}

}  // namespace vinr::tensorrt
