//! Whether there are tiles.

use std::arch::asm;

/// Whether the CPU has AMX for 8-bit integers and the system lets this process use it.
pub fn is_available() -> bool {
    use std::sync::OnceLock;
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    *AVAILABLE.get_or_init(|| cfg!(target_os = "linux") && cpu_has_amx() && request_permission())
}

fn cpu_has_amx() -> bool {
    use std::arch::x86_64::__cpuid_count;
    let leaves = std::arch::x86_64::__cpuid(0).eax;
    leaves >= 7 && is_x86_feature_detected!("xsave") && {
        let features = __cpuid_count(7, 0).edx;
        features >> 24 & 1 == 1 && features >> 25 & 1 == 1 && {
            // SAFETY: the CPU has XSAVE, and a system that enabled it.
            let state = unsafe { extended_state() };
            state >> 17 & 3 == 3
        }
    }
}

#[target_feature(enable = "xsave")]
unsafe fn extended_state() -> u64 {
    // SAFETY: register 0 always exists.
    unsafe { std::arch::x86_64::_xgetbv(0) }
}

/// Linux gives tile state only to processes that ask: `arch_prctl(ARCH_REQ_XCOMP_PERM,
/// XFEATURE_XTILEDATA)`.
fn request_permission() -> bool {
    let (call, request, feature) = (158i64, 0x1023u64, 18u64);
    let result: i64;
    // SAFETY: a system call that takes two numbers and changes nothing but this process's
    // permission.
    unsafe {
        asm!("syscall", inlateout("rax") call => result, in("rdi") request, in("rsi") feature, out("rcx") _, out("r11") _, options(nostack));
    }
    result == 0
}
