//! One source for every level of CPU.

/// Compiles the body of a kernel for every level of x86-64, too. The first parameter is the level.
macro_rules! for_every_cpu {
    ($($(#[$doc:meta])* $visible:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $result:ty)? $body:block)*) => {$(
        $(#[$doc])*
        $visible fn $name(cpu: crate::kernels::Cpu, $($arg: $ty),*) $(-> $result)? {
            #[inline(always)]
            fn body($($arg: $ty),*) $(-> $result)? $body
            #[cfg(target_arch = "x86_64")]
            {
                use crate::kernels::Cpu;
                #[target_feature(enable = "avx2,bmi2,popcnt")]
                fn avx2($($arg: $ty),*) $(-> $result)? {
                    body($($arg),*)
                }
                #[target_feature(enable = "avx2,bmi2,popcnt,avx512f,avx512bw,avx512vl,avx512dq")]
                fn avx512($($arg: $ty),*) $(-> $result)? {
                    body($($arg),*)
                }
                match cpu {
                    Cpu::Portable => {}
                    // SAFETY: safe code, and the level says that the CPU has the features.
                    Cpu::Avx2 => return unsafe { avx2($($arg),*) },
                    // SAFETY: as above.
                    Cpu::Avx512 | Cpu::Amx => return unsafe { avx512($($arg),*) },
                }
            }
            let _ = cpu;
            body($($arg),*)
        }
    )*};
}
