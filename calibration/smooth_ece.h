// Smooth ECE (Blasiok & Nakkiran, arXiv 2309.12236), as relplot 1.0.3 defines it: residuals p - y smoothed by a reflected Gaussian kernel
// whose width is found from the data, so that there are no bins. Both smoothed masses are linear in the data: they can be made from points
// or from a sketch's cells.
#pragma once
#include "calibration/bins.h"
#include "calibration/rows.h"

namespace candor::calibration {

struct SmoothEce {
  double value = 0.0;  // NaN without points
  double sigma = 0.0;  // the kernel width that was found
};
SmoothEce ComputeSmoothEce(const Points& points);
// Every bin's mass is put at its mean confidence.
SmoothEce ComputeSmoothEce(const Bins& bins);
// At a given width.
double SmoothEceAt(const Points& points, double sigma);

}  // namespace candor::calibration
