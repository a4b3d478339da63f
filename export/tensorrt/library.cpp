// The library's entry points, by which TensorRT's plugin registry finds what is in it.
#include "deform_conv2d.h"
#include "inr_query.h"

#define VINR_EXPORTED extern "C" __attribute__((visibility("default")))

VINR_EXPORTED void setLoggerFinder(nvinfer1::ILoggerFinder* finder) { vinr::tensorrt::set_logger_finder(finder); }

VINR_EXPORTED nvinfer1::IPluginCreatorInterface* const* getCreators(int32_t& count) {
    static vinr::tensorrt::Creator<vinr::tensorrt::DeformConv2d> deform_conv2d;
    static vinr::tensorrt::Creator<vinr::tensorrt::InrQuery> inr_query;
    static nvinfer1::IPluginCreatorInterface* const creators[] = {&deform_conv2d, &inr_query};
    count = 2;
    return creators;
}
