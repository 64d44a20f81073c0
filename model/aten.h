// The one door to LibTorch. Every file of model/, rollout/ and trainer/ sees ATen through this header, which CMake precompiles once;
// torch/torch.h is never included (it costs 13 s a file). Autograd works through ATen: tensors with requires_grad, Tensor::backward, and
// torch::autograd::Function for our own kernels.
#pragma once
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>
