// What tests/dist/fake_nccl.cc asks the fake CUDA run time beyond CUDA's own functions.
#pragma once
#include <cstddef>

extern "C" int CandorFakeOwns(const void* address, size_t bytes);  // whether cudaMalloc gave all of it
