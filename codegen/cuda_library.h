/* Plain products (ir/tile_product.h) by cuBLAS instead of a kernel of ours.
 *
 * A call of cublasGemmStridedBatchedEx is the launch: it goes to a stream as kernels do, so a
 * recorded graph has it. Sums are float32 and never rounded on the way; factors are what the
 * program's math says, so float32 stays float32 unless the recipe says otherwise. The library works
 * in the end of the launch's workspace, always of one size, and chooses its algorithm by sizes,
 * types and device: the same call gives the same bits on the same device and version of the
 * library. Needs a library of 12.0 or newer. */
#ifndef NPC_CODEGEN_CUDA_LIBRARY_H
#define NPC_CODEGEN_CUDA_LIBRARY_H

#include "codegen/cuda_api.h"
#include "ir/tile.h"

/* Prepares a handle for products in the stream. */
BlasResult cuda_library_begin(const CudaBlas *blas, BlasHandle *out, CudaStream stream);
/* The product of a program that is by_library, behind its phases; `workspace` is theirs. */
BlasResult cuda_library_multiply(const CudaBlas *blas, BlasHandle handle, const TileProgram *p,
                                 const CudaAddress *tensor, CudaAddress workspace);

#endif
