// RUN: headrace-opt %s
// expected-error @+1 {{expected}}
func.func private @f()
