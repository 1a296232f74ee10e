// RUN: headrace-opt %s | FileCheck %s
// CHECK: func.func
// CHECK-FUSED: moe.select
func.func private @f()
