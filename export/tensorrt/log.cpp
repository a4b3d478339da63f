#include "log.h"

#include <atomic>
#include <cstdio>

namespace vinr::tensorrt {
namespace {

std::atomic<nvinfer1::ILoggerFinder*> logger_finder{nullptr};

}  // namespace

void set_logger_finder(nvinfer1::ILoggerFinder* finder) noexcept { logger_finder = finder; }

void log_error(const char* plugin, const char* message) noexcept {
    try {
        const std::string line = std::string("vinr::") + plugin + ": " + message;
        nvinfer1::ILoggerFinder* const finder = logger_finder;
        nvinfer1::ILogger* const logger = finder ? finder->findLogger() : nullptr;
        if (logger) return logger->log(nvinfer1::ILogger::Severity::kERROR, line.c_str());
        std::fprintf(stderr, "%s\n", line.c_str());
    } catch (...) {  // out of memory: nothing is left to say it with
    }
}

}  // namespace vinr::tensorrt
