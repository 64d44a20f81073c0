// The few distribution functions that intervals and tests need. Accurate to about 1e-12 in their stated domains; tests hold them against
// published values.
#pragma once

namespace candor::calibration {

double NormalCdf(double z);
double NormalTail(double z);                          // P(Z > z), accurate far out
double NormalQuantile(double probability);            // 0 < probability < 1
double IncompleteBeta(double a, double b, double x);  // regularised I_x(a, b); a, b > 0, x in [0, 1]
double BetaQuantile(double a, double b, double probability);
double StudentQuantile(double degrees, double probability);  // degrees > 0
// P(range of a standard Brownian motion on [0, 1] > x): the null law of ECCE / sigma (Feller 1951).
double BrownianRangeTail(double x);

}  // namespace candor::calibration
