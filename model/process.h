// Settings of a process that computes with LibTorch.
#pragma once

namespace candor {

// Call once at the start of main, before the first tensor: lets malloc keep the big buffers that every layer takes and gives back, instead
// of mapping and clearing fresh pages each time (about a tenth of a training step). Waiting threads must sleep, not spin, where several
// processes share the cores: libgomp reads OMP_WAIT_POLICY=PASSIVE when it is loaded, so it has to be in the environment already; returns
// whether it is.
bool PrepareTorchProcess();

}  // namespace candor
