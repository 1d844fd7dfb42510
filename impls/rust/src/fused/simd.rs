//! Vectors of every instruction set behind one trait, so that each kernel is written once.
//!
//! A value of an instruction set's type proves that this processor has its instructions: `detect` is the only way to
//! get one. Arithmetic is therefore safe, and only what goes through a pointer is not.
//!
//! Intrinsics are inlined only into functions compiled for their instruction set. `Simd::run` is that function: a
//! `Kernel`'s body, and all trait methods in it, are inlined into a copy of `run` for each instruction set.

use crate::network::Real;

/// A piece of work compiled once for each instruction set `S`.
pub trait Kernel<S> {
    /// Must be `#[inline(always)]`, and everything that it calls as well.
    ///
    /// # Safety
    /// The pointers must be as the kernel's type says.
    unsafe fn run(self, simd: S);
}

/// An instruction set, for vectors of `T`.
///
/// # Safety
/// `LANES` must divide the values in a cache line: kernels read and write whole vectors of rows padded to cache lines.
pub unsafe trait Simd<T: Real>: Copy + Send + Sync + 'static {
    type Vector: Copy;

    /// Values in a vector.
    const LANES: usize;
    /// Rows and vectors of the largest tile of `products::Multiply` whose sums fit in registers.
    const TILE: (usize, usize);
    /// Rows of both factors in the largest tile of `products::Dots`.
    const DOTS: (usize, usize);

    /// Run `kernel` compiled for this instruction set.
    ///
    /// # Safety
    /// As for `Kernel::run`.
    unsafe fn run<K: Kernel<Self>>(self, kernel: K);

    fn splat(self, value: T) -> Self::Vector;
    fn add(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    fn sub(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    fn mul(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    fn div(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// a * b + c, rounded once where the processor can.
    fn fma(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;
    /// The smaller of both; `b` if either is NaN.
    fn min(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// The larger of both; `b` if either is NaN.
    fn max(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// 2^n, for `a` = `Exp::EXPONENT_SHIFT` + n with n a whole number and 2^n a normal number.
    fn power_of_two(self, a: Self::Vector) -> Self::Vector;
    /// The sum of all lanes of each of four vectors, which comes cheaper than four times that of one.
    fn sums(self, vectors: [Self::Vector; 4]) -> [T; 4];
    /// The lanes of both in turn: those of the first halves, and those of the second.
    fn zip(self, a: Self::Vector, b: Self::Vector) -> [Self::Vector; 2];
    /// Zero in all lanes from `lanes` on.
    fn first(self, lanes: usize, a: Self::Vector) -> Self::Vector;

    /// # Safety
    /// `from` must be valid for reading `LANES` values.
    unsafe fn load(self, from: *const T) -> Self::Vector;
    /// # Safety
    /// `to` must be valid for writing `LANES` values.
    unsafe fn store(self, to: *mut T, a: Self::Vector);
}

/// Plain Rust, for any processor: vectors are arrays of 16 bytes, which compilers turn into SSE2 or the like.
#[derive(Clone, Copy, Debug)]
pub struct Portable;

/// Have the processor fetch the cache line at `from` into its second-level cache, where there is an instruction for it.
#[inline(always)]
pub fn prefetch<T>(from: *const T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: SSE is part of x86-64; prefetching reads nothing, and an address that is not there is ignored.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(from.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = from;
}

/// Each lane of the result of the same lanes of `a` and `b`.
#[inline(always)]
fn lanes<T: Copy, const N: usize>(mut a: [T; N], b: [T; N], operation: impl Fn(T, T) -> T) -> [T; N] {
    for i in 0..N {
        a[i] = operation(a[i], b[i]);
    }
    a
}

macro_rules! portable {
    ($T:ty, $lanes:literal; $($binary:ident $operation:expr),+) => {
        // SAFETY: 16 bytes.
        unsafe impl Simd<$T> for Portable {
            type Vector = [$T; $lanes];
            const LANES: usize = $lanes;
            const TILE: (usize, usize) = (2, 4);
            const DOTS: (usize, usize) = (3, 3);

            unsafe fn run<K: Kernel<Self>>(self, kernel: K) {
                // SAFETY: the caller's.
                unsafe { kernel.run(self) }
            }
            #[inline(always)]
            fn splat(self, value: $T) -> Self::Vector {
                [value; $lanes]
            }
            $(#[inline(always)]
            fn $binary(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
                lanes(a, b, $operation)
            })+
            #[inline(always)]
            fn fma(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector {
                Simd::<$T>::add(self, Simd::<$T>::mul(self, a, b), c)
            }
            #[inline(always)]
            fn power_of_two(self, a: Self::Vector) -> Self::Vector {
                a.map(|a| <$T>::from_bits(a.to_bits() << (<$T>::MANTISSA_DIGITS - 1)))
            }
            #[inline(always)]
            fn sums(self, vectors: [Self::Vector; 4]) -> [$T; 4] {
                vectors.map(|a| a.iter().sum())
            }
            #[inline(always)]
            fn zip(self, a: Self::Vector, b: Self::Vector) -> [Self::Vector; 2] {
                let lane = |i: usize| if i % 2 == 0 { a[i / 2] } else { b[i / 2] };
                [std::array::from_fn(lane), std::array::from_fn(|i| lane($lanes + i))]
            }
            #[inline(always)]
            fn first(self, lanes: usize, mut a: Self::Vector) -> Self::Vector {
                for i in 0..$lanes {
                    a[i] = if i < lanes { a[i] } else { 0.0 };
                }
                a
            }
            #[inline(always)]
            unsafe fn load(self, from: *const $T) -> Self::Vector {
                // SAFETY: valid for LANES values; arrays need no more alignment than their values.
                unsafe { from.cast::<Self::Vector>().read() }
            }
            #[inline(always)]
            unsafe fn store(self, to: *mut $T, a: Self::Vector) {
                // SAFETY: as in `load`.
                unsafe { to.cast::<Self::Vector>().write(a) }
            }
        }
    };
    ($T:ty, $lanes:literal) => {
        portable!($T, $lanes; add |a, b| a + b, sub |a, b| a - b, mul |a, b| a * b, div |a, b| a / b,
            min |a, b| if a < b { a } else { b }, max |a, b| if a > b { a } else { b });
    };
}

portable!(f64, 2);
portable!(f32, 4);

/// An instruction set's methods for one type: an intrinsic, or an expression of some, for each.
///
/// The sums are no closure: one as long as theirs is not inlined, and the step takes twice as long.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! simd {
    ($Isa:ty, $features:literal, $T:ty, $Vector:ty, $lanes:literal, tile $tile:expr, dots $dots:expr;
     $($binary:ident $operation:expr),+;
     splat $splat:ident, fma $fma:expr, load $load:ident, store $store:ident;
     power_of_two $power_of_two:expr;
     sums [$a:ident, $b:ident, $c:ident, $d:ident] $sums:expr;
     zip $zip:expr;
     first $first:expr) => {
        // SAFETY: 64 bytes or fewer, a power of two.
        unsafe impl Simd<$T> for $Isa {
            type Vector = $Vector;
            const LANES: usize = $lanes;
            const TILE: (usize, usize) = $tile;
            const DOTS: (usize, usize) = $dots;

            #[inline(always)]
            unsafe fn run<K: Kernel<Self>>(self, kernel: K) {
                /// # Safety
                /// As for `Kernel::run`.
                #[target_feature(enable = $features)]
                unsafe fn compiled<S, K: Kernel<S>>(simd: S, kernel: K) {
                    // SAFETY: the caller's.
                    unsafe { kernel.run(simd) }
                }
                // SAFETY: `self` proves that the processor has these instructions; the rest is the caller's.
                unsafe { compiled(self, kernel) }
            }
            #[inline(always)]
            fn splat(self, value: $T) -> $Vector {
                // SAFETY: `self` proves that the processor has this instruction; so in all methods below.
                unsafe { $splat(value) }
            }
            $(#[inline(always)]
            fn $binary(self, a: $Vector, b: $Vector) -> $Vector {
                // SAFETY: `self`.
                unsafe { $operation(a, b) }
            })+
            #[inline(always)]
            fn fma(self, a: $Vector, b: $Vector, c: $Vector) -> $Vector {
                // SAFETY: `self`.
                unsafe { $fma(a, b, c) }
            }
            #[inline(always)]
            fn power_of_two(self, a: $Vector) -> $Vector {
                // SAFETY: `self`.
                unsafe { $power_of_two(a) }
            }
            #[inline(always)]
            fn sums(self, vectors: [$Vector; 4]) -> [$T; 4] {
                let [$a, $b, $c, $d] = vectors;
                // SAFETY: `self`; a vector of four values is an array of them.
                unsafe { $sums }
            }
            #[inline(always)]
            fn zip(self, a: $Vector, b: $Vector) -> [$Vector; 2] {
                // SAFETY: `self`.
                unsafe { $zip(a, b) }
            }
            #[inline(always)]
            fn first(self, lanes: usize, a: $Vector) -> $Vector {
                // SAFETY: `self`; pointers are to arrays of a vector's size.
                unsafe { $first(lanes, a) }
            }
            #[inline(always)]
            unsafe fn load(self, from: *const $T) -> $Vector {
                // SAFETY: `self`, and the caller vouches for `from`.
                unsafe { $load(from) }
            }
            #[inline(always)]
            unsafe fn store(self, to: *mut $T, a: $Vector) {
                // SAFETY: `self`, and the caller vouches for `to`.
                unsafe { $store(to, a) }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
pub mod x86 {
    use super::{Kernel, Simd};
    use core::arch::x86_64::*;
    use core::mem::transmute;

    /// AVX-512F and AVX-512VL, AVX2 and FMA: all AVX-512 processors but the first, Xeon Phi.
    #[derive(Clone, Copy, Debug)]
    pub struct Avx512(());

    /// AVX2 and FMA.
    #[derive(Clone, Copy, Debug)]
    pub struct Avx2(());

    impl Avx512 {
        pub fn detect() -> Option<Self> {
            (is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl") && Avx2::detect().is_some())
                .then_some(Self(()))
        }
    }

    impl Avx2 {
        pub fn detect() -> Option<Self> {
            (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(Self(()))
        }
    }

    simd! {
        Avx512, "avx512f,avx512vl,avx2,fma", f64, __m512d, 8, tile (6, 4), dots (5, 5);
        add _mm512_add_pd, sub _mm512_sub_pd, mul _mm512_mul_pd, div _mm512_div_pd,
        min _mm512_min_pd, max _mm512_max_pd;
        splat _mm512_set1_pd, fma _mm512_fmadd_pd, load _mm512_loadu_pd, store _mm512_storeu_pd;
        power_of_two |a| _mm512_castsi512_pd(_mm512_slli_epi64::<52>(_mm512_castpd_si512(a)));
        sums [a, b, c, d] {
            let ab = _mm512_add_pd(_mm512_unpacklo_pd(a, b), _mm512_unpackhi_pd(a, b)); // 4 times a, b
            let cd = _mm512_add_pd(_mm512_unpacklo_pd(c, d), _mm512_unpackhi_pd(c, d));
            let ab = _mm256_add_pd(_mm512_castpd512_pd256(ab), _mm512_extractf64x4_pd::<1>(ab)); // twice a, b
            let cd = _mm256_add_pd(_mm512_castpd512_pd256(cd), _mm512_extractf64x4_pd::<1>(cd));
            let (low, high) = (_mm256_permute2f128_pd::<0x20>(ab, cd), _mm256_permute2f128_pd::<0x31>(ab, cd));
            transmute(_mm256_add_pd(low, high))
        };
        zip |a, b| {
            let (low, high) = (_mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11), _mm512_setr_epi64(4, 12, 5, 13, 6, 14, 7, 15));
            [_mm512_permutex2var_pd(a, low, b), _mm512_permutex2var_pd(a, high, b)]
        };
        first |lanes: usize, a| _mm512_maskz_mov_pd(((1u32 << lanes.min(8)) - 1) as __mmask8, a)
    }
    simd! {
        Avx512, "avx512f,avx512vl,avx2,fma", f32, __m512, 16, tile (6, 4), dots (5, 5);
        add _mm512_add_ps, sub _mm512_sub_ps, mul _mm512_mul_ps, div _mm512_div_ps,
        min _mm512_min_ps, max _mm512_max_ps;
        splat _mm512_set1_ps, fma _mm512_fmadd_ps, load _mm512_loadu_ps, store _mm512_storeu_ps;
        power_of_two |a| _mm512_castsi512_ps(_mm512_slli_epi32::<23>(_mm512_castps_si512(a)));
        sums [a, b, c, d] {
            let ab = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b)); // 4 times a, b, a, b
            let cd = _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
            let (low, high) = (_mm512_shuffle_ps::<0x44>(ab, cd), _mm512_shuffle_ps::<0xee>(ab, cd));
            let all = _mm512_castps_pd(_mm512_add_ps(low, high)); // 4 times a, b, c, d
            let (low, high) = (_mm512_castpd512_pd256(all), _mm512_extractf64x4_pd::<1>(all));
            let eight = _mm256_add_ps(_mm256_castpd_ps(low), _mm256_castpd_ps(high));
            transmute(_mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight)))
        };
        zip |a, b| {
            let low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
            let high = _mm512_add_epi32(low, _mm512_set1_epi32(8));
            [_mm512_permutex2var_ps(a, low, b), _mm512_permutex2var_ps(a, high, b)]
        };
        first |lanes: usize, a| _mm512_maskz_mov_ps(((1u32 << lanes.min(16)) - 1) as __mmask16, a)
    }
    simd! {
        Avx2, "avx2,fma", f64, __m256d, 4, tile (6, 2), dots (4, 3);
        add _mm256_add_pd, sub _mm256_sub_pd, mul _mm256_mul_pd, div _mm256_div_pd,
        min _mm256_min_pd, max _mm256_max_pd;
        splat _mm256_set1_pd, fma _mm256_fmadd_pd, load _mm256_loadu_pd, store _mm256_storeu_pd;
        power_of_two |a| _mm256_castsi256_pd(_mm256_slli_epi64::<52>(_mm256_castpd_si256(a)));
        sums [a, b, c, d] {
            let ab = _mm256_add_pd(_mm256_unpacklo_pd(a, b), _mm256_unpackhi_pd(a, b)); // twice a, b
            let cd = _mm256_add_pd(_mm256_unpacklo_pd(c, d), _mm256_unpackhi_pd(c, d));
            let (low, high) = (_mm256_permute2f128_pd::<0x20>(ab, cd), _mm256_permute2f128_pd::<0x31>(ab, cd));
            transmute(_mm256_add_pd(low, high))
        };
        zip |a, b| {
            let (even, odd) = (_mm256_unpacklo_pd(a, b), _mm256_unpackhi_pd(a, b)); // each of lanes 0 and 2, 1 and 3
            [_mm256_permute2f128_pd::<0x20>(even, odd), _mm256_permute2f128_pd::<0x31>(even, odd)]
        };
        first |lanes: usize, a| {
            let wanted = _mm256_cmpgt_epi64(_mm256_set1_epi64x(lanes as i64), _mm256_setr_epi64x(0, 1, 2, 3));
            _mm256_and_pd(a, _mm256_castsi256_pd(wanted))
        }
    }
    simd! {
        Avx2, "avx2,fma", f32, __m256, 8, tile (6, 2), dots (4, 3);
        add _mm256_add_ps, sub _mm256_sub_ps, mul _mm256_mul_ps, div _mm256_div_ps,
        min _mm256_min_ps, max _mm256_max_ps;
        splat _mm256_set1_ps, fma _mm256_fmadd_ps, load _mm256_loadu_ps, store _mm256_storeu_ps;
        power_of_two |a| _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_castps_si256(a)));
        sums [a, b, c, d] {
            let ab = _mm256_add_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b)); // twice a, b, a, b
            let cd = _mm256_add_ps(_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
            let (low, high) = (_mm256_shuffle_ps::<0x44>(ab, cd), _mm256_shuffle_ps::<0xee>(ab, cd));
            let eight = _mm256_add_ps(low, high);
            transmute(_mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight)))
        };
        zip |a, b| {
            let (outer, inner) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b)); // of each half's lanes 0, 1 and 2, 3
            [_mm256_permute2f128_ps::<0x20>(outer, inner), _mm256_permute2f128_ps::<0x31>(outer, inner)]
        };
        first |lanes: usize, a| {
            let wanted = _mm256_cmpgt_epi32(_mm256_set1_epi32(lanes as i32), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
            _mm256_and_ps(a, _mm256_castsi256_ps(wanted))
        }
    }
}

/// Every AArch64 processor has NEON: there is nothing to detect.
#[cfg(target_arch = "aarch64")]
pub mod arm {
    use super::{Kernel, Simd};
    use core::arch::aarch64::*;

    #[derive(Clone, Copy, Debug)]
    pub struct Neon;

    simd! {
        Neon, "neon", f64, float64x2_t, 2, tile (6, 4), dots (5, 4);
        add vaddq_f64, sub vsubq_f64, mul vmulq_f64, div vdivq_f64,
        min |a, b| vbslq_f64(vcltq_f64(a, b), a, b), max |a, b| vbslq_f64(vcltq_f64(b, a), a, b);
        splat vdupq_n_f64, fma |a, b, c| vfmaq_f64(c, a, b), load vld1q_f64, store vst1q_f64;
        power_of_two |a| vreinterpretq_f64_u64(vshlq_n_u64::<52>(vreinterpretq_u64_f64(a)));
        sums [a, b, c, d] [vaddvq_f64(a), vaddvq_f64(b), vaddvq_f64(c), vaddvq_f64(d)];
        zip |a, b| [vzip1q_f64(a, b), vzip2q_f64(a, b)];
        first |lanes: usize, a| {
            let wanted = vcltq_u64(vld1q_u64([0, 1].as_ptr()), vdupq_n_u64(lanes as u64));
            vreinterpretq_f64_u64(vandq_u64(vreinterpretq_u64_f64(a), wanted))
        }
    }
    simd! {
        Neon, "neon", f32, float32x4_t, 4, tile (6, 4), dots (5, 4);
        add vaddq_f32, sub vsubq_f32, mul vmulq_f32, div vdivq_f32,
        min |a, b| vbslq_f32(vcltq_f32(a, b), a, b), max |a, b| vbslq_f32(vcltq_f32(b, a), a, b);
        splat vdupq_n_f32, fma |a, b, c| vfmaq_f32(c, a, b), load vld1q_f32, store vst1q_f32;
        power_of_two |a| vreinterpretq_f32_u32(vshlq_n_u32::<23>(vreinterpretq_u32_f32(a)));
        sums [a, b, c, d] [vaddvq_f32(a), vaddvq_f32(b), vaddvq_f32(c), vaddvq_f32(d)];
        zip |a, b| [vzip1q_f32(a, b), vzip2q_f32(a, b)];
        first |lanes: usize, a| {
            let wanted = vcltq_u32(vld1q_u32([0, 1, 2, 3].as_ptr()), vdupq_n_u32(lanes as u32));
            vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(a), wanted))
        }
    }
}
