// RUN: headrace-opt %s
// CHECK: func.func
func.func private @f()
