//! Vectors of every instruction set behind one trait, so that each kernel is written once.
//!
//! A value of an instruction set's type proves that this processor has its instructions: `detect` is the only way to
//! get one. Arithmetic is therefore safe, and only what goes through a pointer is not.
//!
//! Intrinsics are inlined only into functions compiled for their instruction set. `Simd::run` is that function: a
//! `Kernel`'s body, and all trait methods in it, are inlined into a copy of `run` for each instruction set.

use crate::network::Real;

/// A piece of work compiled once for each instruction set.
pub trait Kernel {
    /// Must be `#[inline(always)]`, and everything that it calls as well.
    fn run(self);
}

/// An instruction set, for vectors of `T`.
pub trait Simd<T: Real>: Copy + Send + Sync + 'static {
    type Vector: Copy;

    /// Values in a vector; divides the values in a cache line.
    const LANES: usize;
    /// Rows and vectors of the largest tile of `products::multiply` whose sums fit in registers.
    const TILE: (usize, usize);
    /// Rows of both factors in the largest tile of `products::dots`.
    const DOTS: (usize, usize);

    /// Run `kernel` compiled for this instruction set.
    fn run<K: Kernel>(self, kernel: K);

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
    /// 2^n, for `a` = `T::EXPONENT_SHIFT` + n with n a whole number and 2^n a normal number.
    fn power_of_two(self, a: Self::Vector) -> Self::Vector;
    /// The sum of all lanes of each of four vectors, which comes cheaper than four times that of one.
    fn sums(self, vectors: [Self::Vector; 4]) -> [T; 4];
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

/// A cache of the processor, to fetch into.
#[derive(Clone, Copy)]
pub enum Cache {
    First,
    Second,
}

/// Have the processor fetch the cache line at `from` while it computes, where there is an instruction for it.
#[inline(always)]
pub fn prefetch<T>(from: *const T, into: Cache) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _MM_HINT_T1, _mm_prefetch};
        // SAFETY: SSE is part of x86-64; prefetching reads nothing, and an address that is not there is ignored.
        unsafe {
            match into {
                Cache::First => _mm_prefetch::<_MM_HINT_T0>(from.cast()),
                Cache::Second => _mm_prefetch::<_MM_HINT_T1>(from.cast()),
            }
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (from, into);
}

macro_rules! portable {
    ($T:ty, $bits:ty, $lanes:literal) => {
        impl Simd<$T> for Portable {
            type Vector = [$T; $lanes];
            const LANES: usize = $lanes;
            const TILE: (usize, usize) = (2, 4);
            const DOTS: (usize, usize) = (3, 3);

            fn run<K: Kernel>(self, kernel: K) {
                kernel.run();
            }
            #[inline(always)]
            fn splat(self, value: $T) -> Self::Vector {
                [value; $lanes]
            }
            #[inline(always)]
            fn add(self, mut a: Self::Vector, b: Self::Vector) -> Self::Vector {
                for i in 0..$lanes {
                    a[i] += b[i];
                }
                a
            }
            #[inline(always)]
            fn sub(self, mut a: Self::Vector, b: Self::Vector) -> Self::Vector {
                for i in 0..$lanes {
                    a[i] -= b[i];
                }
                a
            }
            #[inline(always)]
            fn mul(self, mut a: Self::Vector, b: Self::Vector) -> Self::Vector {
                for i in 0..$lanes {
                    a[i] *= b[i];
                }
                a
            }
            #[inline(always)]
            fn div(self, mut a: Self::Vector, b: Self::Vector) -> Self::Vector {
                for i in 0..$lanes {
                    a[i] /= b[i];
                }
                a
            }
            #[inline(always)]
            fn fma(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector {
                Simd::<$T>::add(self, Simd::<$T>::mul(self, a, b), c)
            }
            #[inline(always)]
            fn min(self, a: Self::Vector, mut b: Self::Vector) -> Self::Vector {
                for i in 0..$lanes {
                    b[i] = if a[i] < b[i] { a[i] } else { b[i] };
                }
                b
            }
            #[inline(always)]
            fn max(self, a: Self::Vector, mut b: Self::Vector) -> Self::Vector {
                for i in 0..$lanes {
                    b[i] = if a[i] > b[i] { a[i] } else { b[i] };
                }
                b
            }
            #[inline(always)]
            fn power_of_two(self, mut a: Self::Vector) -> Self::Vector {
                for i in 0..$lanes {
                    a[i] = <$T>::from_bits(a[i].to_bits() << (<$T>::MANTISSA_DIGITS - 1));
                }
                a
            }
            #[inline(always)]
            fn sums(self, vectors: [Self::Vector; 4]) -> [$T; 4] {
                vectors.map(|a| a.iter().sum())
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
}

portable!(f64, u64, 2);
portable!(f32, u32, 4);

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

    macro_rules! simd {
        ($Isa:ty, $features:literal, $T:ty, $Vector:ty, $lanes:literal, tile $tile:expr, dots $dots:expr,
         $splat:ident, $add:ident, $sub:ident, $mul:ident, $div:ident, $fma:ident, $min:ident, $max:ident,
         $load:ident, $store:ident, $power_of_two:expr, |$a:ident, $b:ident, $c:ident, $d:ident| $sums:block,
         $first:expr) => {
            impl Simd<$T> for $Isa {
                type Vector = $Vector;
                const LANES: usize = $lanes;
                const TILE: (usize, usize) = $tile;
                const DOTS: (usize, usize) = $dots;

                #[inline(always)]
                fn run<K: Kernel>(self, kernel: K) {
                    #[target_feature(enable = $features)]
                    fn compiled<K: Kernel>(kernel: K) {
                        kernel.run();
                    }
                    // SAFETY: `self` proves that the processor has these instructions.
                    unsafe { compiled(kernel) }
                }
                #[inline(always)]
                fn splat(self, value: $T) -> $Vector {
                    // SAFETY: `self` proves that the processor has this instruction; so in all methods below.
                    unsafe { $splat(value) }
                }
                #[inline(always)]
                fn add(self, a: $Vector, b: $Vector) -> $Vector {
                    // SAFETY: `self`.
                    unsafe { $add(a, b) }
                }
                #[inline(always)]
                fn sub(self, a: $Vector, b: $Vector) -> $Vector {
                    // SAFETY: `self`.
                    unsafe { $sub(a, b) }
                }
                #[inline(always)]
                fn mul(self, a: $Vector, b: $Vector) -> $Vector {
                    // SAFETY: `self`.
                    unsafe { $mul(a, b) }
                }
                #[inline(always)]
                fn div(self, a: $Vector, b: $Vector) -> $Vector {
                    // SAFETY: `self`.
                    unsafe { $div(a, b) }
                }
                #[inline(always)]
                fn fma(self, a: $Vector, b: $Vector, c: $Vector) -> $Vector {
                    // SAFETY: `self`.
                    unsafe { $fma(a, b, c) }
                }
                #[inline(always)]
                fn min(self, a: $Vector, b: $Vector) -> $Vector {
                    // SAFETY: `self`.
                    unsafe { $min(a, b) }
                }
                #[inline(always)]
                fn max(self, a: $Vector, b: $Vector) -> $Vector {
                    // SAFETY: `self`.
                    unsafe { $max(a, b) }
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
                fn first(self, lanes: usize, a: $Vector) -> $Vector {
                    // SAFETY: `self`.
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

    simd!(
        Avx512,
        "avx512f,avx512vl,avx2,fma",
        f64,
        __m512d,
        8,
        tile(6, 4),
        dots(5, 5),
        _mm512_set1_pd,
        _mm512_add_pd,
        _mm512_sub_pd,
        _mm512_mul_pd,
        _mm512_div_pd,
        _mm512_fmadd_pd,
        _mm512_min_pd,
        _mm512_max_pd,
        _mm512_loadu_pd,
        _mm512_storeu_pd,
        |a| _mm512_castsi512_pd(_mm512_slli_epi64::<52>(_mm512_castpd_si512(a))),
        |a, b, c, d| {
            let ab = _mm512_add_pd(_mm512_unpacklo_pd(a, b), _mm512_unpackhi_pd(a, b)); // 4 times a, b
            let cd = _mm512_add_pd(_mm512_unpacklo_pd(c, d), _mm512_unpackhi_pd(c, d));
            let ab = _mm256_add_pd(_mm512_castpd512_pd256(ab), _mm512_extractf64x4_pd::<1>(ab)); // twice a, b
            let cd = _mm256_add_pd(_mm512_castpd512_pd256(cd), _mm512_extractf64x4_pd::<1>(cd));
            let (low, high) = (_mm256_permute2f128_pd::<0x20>(ab, cd), _mm256_permute2f128_pd::<0x31>(ab, cd));
            transmute(_mm256_add_pd(low, high))
        },
        |lanes: usize, a| _mm512_maskz_mov_pd(((1u32 << lanes.min(8)) - 1) as __mmask8, a)
    );
    simd!(
        Avx512,
        "avx512f,avx512vl,avx2,fma",
        f32,
        __m512,
        16,
        tile(6, 4),
        dots(5, 5),
        _mm512_set1_ps,
        _mm512_add_ps,
        _mm512_sub_ps,
        _mm512_mul_ps,
        _mm512_div_ps,
        _mm512_fmadd_ps,
        _mm512_min_ps,
        _mm512_max_ps,
        _mm512_loadu_ps,
        _mm512_storeu_ps,
        |a| _mm512_castsi512_ps(_mm512_slli_epi32::<23>(_mm512_castps_si512(a))),
        |a, b, c, d| {
            let ab = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b)); // 4 times a, b, a, b
            let cd = _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
            let (low, high) = (_mm512_shuffle_ps::<0x44>(ab, cd), _mm512_shuffle_ps::<0xee>(ab, cd));
            let all = _mm512_castps_pd(_mm512_add_ps(low, high)); // 4 times a, b, c, d
            let (low, high) = (_mm512_castpd512_pd256(all), _mm512_extractf64x4_pd::<1>(all));
            let eight = _mm256_add_ps(_mm256_castpd_ps(low), _mm256_castpd_ps(high));
            transmute(_mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight)))
        },
        |lanes: usize, a| _mm512_maskz_mov_ps(((1u32 << lanes.min(16)) - 1) as __mmask16, a)
    );
    simd!(
        Avx2,
        "avx2,fma",
        f64,
        __m256d,
        4,
        tile(6, 2),
        dots(4, 3),
        _mm256_set1_pd,
        _mm256_add_pd,
        _mm256_sub_pd,
        _mm256_mul_pd,
        _mm256_div_pd,
        _mm256_fmadd_pd,
        _mm256_min_pd,
        _mm256_max_pd,
        _mm256_loadu_pd,
        _mm256_storeu_pd,
        |a| _mm256_castsi256_pd(_mm256_slli_epi64::<52>(_mm256_castpd_si256(a))),
        |a, b, c, d| {
            let ab = _mm256_add_pd(_mm256_unpacklo_pd(a, b), _mm256_unpackhi_pd(a, b)); // twice a, b
            let cd = _mm256_add_pd(_mm256_unpacklo_pd(c, d), _mm256_unpackhi_pd(c, d));
            let (low, high) = (_mm256_permute2f128_pd::<0x20>(ab, cd), _mm256_permute2f128_pd::<0x31>(ab, cd));
            transmute(_mm256_add_pd(low, high))
        },
        |lanes: usize, a| {
            let wanted = _mm256_cmpgt_epi64(_mm256_set1_epi64x(lanes as i64), _mm256_setr_epi64x(0, 1, 2, 3));
            _mm256_and_pd(a, _mm256_castsi256_pd(wanted))
        }
    );
    simd!(
        Avx2,
        "avx2,fma",
        f32,
        __m256,
        8,
        tile(6, 2),
        dots(4, 3),
        _mm256_set1_ps,
        _mm256_add_ps,
        _mm256_sub_ps,
        _mm256_mul_ps,
        _mm256_div_ps,
        _mm256_fmadd_ps,
        _mm256_min_ps,
        _mm256_max_ps,
        _mm256_loadu_ps,
        _mm256_storeu_ps,
        |a| _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_castps_si256(a))),
        |a, b, c, d| {
            let ab = _mm256_add_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b)); // twice a, b, a, b
            let cd = _mm256_add_ps(_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
            let (low, high) = (_mm256_shuffle_ps::<0x44>(ab, cd), _mm256_shuffle_ps::<0xee>(ab, cd));
            let eight = _mm256_add_ps(low, high);
            transmute(_mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight)))
        },
        |lanes: usize, a| {
            let wanted = _mm256_cmpgt_epi32(_mm256_set1_epi32(lanes as i32), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
            _mm256_and_ps(a, _mm256_castsi256_ps(wanted))
        }
    );
}

/// Every AArch64 processor has NEON: there is nothing to detect.
#[cfg(target_arch = "aarch64")]
pub mod arm {
    use super::{Kernel, Simd};
    use core::arch::aarch64::*;

    #[derive(Clone, Copy, Debug)]
    pub struct Neon;

    macro_rules! neon {
        ($T:ty, $Vector:ty, $lanes:literal, $splat:ident, $add:ident, $sub:ident, $mul:ident, $div:ident, $fma:ident,
         $less:ident, $select:ident, $load:ident, $store:ident, $power_of_two:expr, $sum:ident) => {
            impl Simd<$T> for Neon {
                type Vector = $Vector;
                const LANES: usize = $lanes;
                const TILE: (usize, usize) = (6, 4);
                const DOTS: (usize, usize) = (5, 4);

                #[inline(always)]
                fn run<K: Kernel>(self, kernel: K) {
                    kernel.run();
                }
                #[inline(always)]
                fn splat(self, value: $T) -> $Vector {
                    // SAFETY: every AArch64 processor has NEON; so in all methods below.
                    unsafe { $splat(value) }
                }
                #[inline(always)]
                fn add(self, a: $Vector, b: $Vector) -> $Vector {
                    // SAFETY: NEON.
                    unsafe { $add(a, b) }
                }
                #[inline(always)]
                fn sub(self, a: $Vector, b: $Vector) -> $Vector {
                    // SAFETY: NEON.
                    unsafe { $sub(a, b) }
                }
                #[inline(always)]
                fn mul(self, a: $Vector, b: $Vector) -> $Vector {
                    // SAFETY: NEON.
                    unsafe { $mul(a, b) }
                }
                #[inline(always)]
                fn div(self, a: $Vector, b: $Vector) -> $Vector {
                    // SAFETY: NEON.
                    unsafe { $div(a, b) }
                }
                #[inline(always)]
                fn fma(self, a: $Vector, b: $Vector, c: $Vector) -> $Vector {
                    // SAFETY: NEON.
                    unsafe { $fma(c, a, b) }
                }
                #[inline(always)]
                fn min(self, a: $Vector, b: $Vector) -> $Vector {
                    // SAFETY: NEON.
                    unsafe { $select($less(a, b), a, b) }
                }
                #[inline(always)]
                fn max(self, a: $Vector, b: $Vector) -> $Vector {
                    // SAFETY: NEON.
                    unsafe { $select($less(b, a), a, b) }
                }
                #[inline(always)]
                fn power_of_two(self, a: $Vector) -> $Vector {
                    // SAFETY: NEON.
                    unsafe { $power_of_two(a) }
                }
                #[inline(always)]
                fn sums(self, vectors: [$Vector; 4]) -> [$T; 4] {
                    // SAFETY: NEON.
                    vectors.map(|a| unsafe { $sum(a) })
                }
                #[inline(always)]
                fn first(self, lanes: usize, a: $Vector) -> $Vector {
                    let mut values = [0.0; $lanes];
                    // SAFETY: `values` holds a vector.
                    unsafe { $store(values.as_mut_ptr(), a) };
                    values.iter_mut().skip(lanes).for_each(|value| *value = 0.0);
                    // SAFETY: as above.
                    unsafe { $load(values.as_ptr()) }
                }
                #[inline(always)]
                unsafe fn load(self, from: *const $T) -> $Vector {
                    // SAFETY: NEON, and the caller vouches for `from`.
                    unsafe { $load(from) }
                }
                #[inline(always)]
                unsafe fn store(self, to: *mut $T, a: $Vector) {
                    // SAFETY: NEON, and the caller vouches for `to`.
                    unsafe { $store(to, a) }
                }
            }
        };
    }

    neon!(
        f64,
        float64x2_t,
        2,
        vdupq_n_f64,
        vaddq_f64,
        vsubq_f64,
        vmulq_f64,
        vdivq_f64,
        vfmaq_f64,
        vcltq_f64,
        vbslq_f64,
        vld1q_f64,
        vst1q_f64,
        |a| vreinterpretq_f64_u64(vshlq_n_u64::<52>(vreinterpretq_u64_f64(a))),
        vaddvq_f64
    );
    neon!(
        f32,
        float32x4_t,
        4,
        vdupq_n_f32,
        vaddq_f32,
        vsubq_f32,
        vmulq_f32,
        vdivq_f32,
        vfmaq_f32,
        vcltq_f32,
        vbslq_f32,
        vld1q_f32,
        vst1q_f32,
        |a| vreinterpretq_f32_u32(vshlq_n_u32::<23>(vreinterpretq_u32_f32(a))),
        vaddvq_f32
    );
}
